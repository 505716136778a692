from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.features.face import Person, crop_face
from keras_emo.media.recording import Frame
from keras_emo.spec import FaceSpec

SPEC = FaceSpec(size_px=32)
HEIGHT, WIDTH = 60, 80


def ramp() -> np.ndarray:
    """Red encodes the column and green the row, twice over."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0] = 2 * np.arange(WIDTH)
    frame[..., 1] = 2 * np.arange(HEIGHT)[:, None]
    return frame


def borders(crop: np.ndarray) -> tuple[float, ...]:
    """Left, top, right, bottom pixel of the frame that a crop of ramp() shows."""
    red, green = crop[..., 0].mean(axis=0) / 2, crop[..., 1].mean(axis=1) / 2
    return red[0], green[0], red[-1], green[-1]


def test_square_of_the_same_size_is_copied():
    crop = crop_face(ramp(), (10, 20, 32, 32), SPEC)
    np.testing.assert_array_equal(crop, ramp()[20:52, 10:42])


@pytest.mark.parametrize(
    ("box", "margin", "square"),
    [
        ((10, 20, 20, 20), 0.0, (10, 20, 29, 39)),
        ((10, 25, 30, 10), 0.0, (10, 15, 39, 44)),  # wide: taller about its center
        ((30, 5, 10, 40), 0.0, (15, 5, 54, 44)),  # tall: wider about its center
        ((30, 20, 10, 20), 0.25, (20, 15, 49, 44)),  # of the longer side, on each side
        ((30, 20, 10, 20), -0.25, (30, 25, 39, 34)),
    ],
)
def test_square_about_the_center(box, margin, square):
    crop = crop_face(ramp(), box, replace(SPEC, margin=margin))
    np.testing.assert_allclose(borders(crop), square, atol=0.8)


@pytest.mark.parametrize(
    "corner", [(-16, 10), (64, 10), (10, -16), (10, 44), (-16, -16), (64, 44), (-40, 10), (10, 70)]
)
def test_outside_repeats_the_edge(corner):
    x, y = corner
    expected = np.pad(ramp(), ((50, 50), (50, 50), (0, 0)), "edge")[y + 50 :, x + 50 :][:32, :32]
    np.testing.assert_array_equal(crop_face(ramp(), (x, y, 32, 32), SPEC), expected)


def test_boxes_without_area_are_refused():
    box = (10.0, 10.0, 20.0, 20.0)
    bad = [
        (*box[:i], value, *box[i + 1 :]) for i in range(4) for value in (np.nan, np.inf, -np.inf)
    ]
    for wrong in (*bad, (10, 10, 0, 20), (10, 10, 20, 0), (10, 10, -5, 20), (10, 10, 20, -5)):
        with pytest.raises(ValueError, match="without area"):
            crop_face(ramp(), wrong, SPEC)


@pytest.mark.parametrize("side_px", [127, 128, 143, 255, 256, 300, 511, 700])
def test_large_faces_are_halved_to_nearly_the_same(side_px):
    """From four times the crop on, as one step would have it but for rounding; frames are ramps."""
    across, down = np.meshgrid(np.linspace(0, 250, 900), np.linspace(0, 250, 800))
    frame = np.stack([across, down, (across + down) / 2], axis=2).round().astype(np.uint8)
    x, y = 90, 40
    crop = crop_face(frame, (x, y, side_px, side_px), SPEC)
    at_once = cv2.resize(
        frame[y : y + side_px, x : x + side_px], (32, 32), interpolation=cv2.INTER_AREA
    )
    assert np.abs(crop.astype(int) - at_once).max() <= (2 if side_px >= 128 else 0)


near = st.floats(-300, 300, allow_nan=False)
side = st.floats(1, 300, allow_nan=False)


margins, shapes = st.sampled_from([-0.4, 0.0, 0.3, 1.0]), st.sampled_from([(1, 1), (7, 90)])


@given(near, near, side, side, margins, shapes)
def test_any_box_near_a_frame_gives_a_crop(x, y, width, height, margin, shape):
    frame = np.full((*shape, 3), 7, np.uint8)
    crop = crop_face(frame, (x, y, width, height), replace(SPEC, margin=margin))
    assert (crop.shape, crop.dtype) == ((32, 32, 3), np.uint8)
    assert (crop == 7).all()


def test_frame_is_left_as_it_was():
    frame = ramp()
    crop_face(frame, (-5, -5, 32, 32), SPEC)[:] = 0
    crop_face(frame, (5, 5, 32, 32), SPEC)[:] = 0
    np.testing.assert_array_equal(frame, ramp())


A, B = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)


def follow(boxes, times_s, spec=SPEC) -> Person:
    track = Person(spec)
    for i, (box, time_s) in enumerate(zip(boxes, times_s, strict=True)):
        track.add(Frame(np.full((9, 9, 3), i, np.uint8), time_s), box)
    track.finish()
    return track


@pytest.mark.parametrize(
    ("boxes", "times_s", "filled"),
    [
        ([A, B], [0, 1], {0: A, 1: B}),
        ([None, A, None], [0, 1, 2], {0: A, 1: A, 2: A}),
        ([A, None, None, B], [0, 0.4, 0.8, 1.2], {0: A, 1: A, 2: B, 3: B}),
        ([A, None, B], [0, 0.8, 1], {0: A, 1: B, 2: B}),  # nearest in time, not in number
        ([A, None, B], [0, 1, 2], {0: A, 1: A, 2: B}),  # the earlier of two as near
        ([A, None, None, None, B], [0, 1, 2.1, 3.2, 4], {0: A, 1: A, 3: B, 4: B}),
        ([None, None, A], [0, 1.5, 2], {1: A, 2: A}),  # too long before
        ([None, None], [0, 1], {}),
        ([], [], {}),
    ],
)
def test_frames_without_a_box_take_the_nearest_within_the_gap(boxes, times_s, filled):
    track = follow(boxes, times_s)
    assert track.boxes == list(filled.values())
    assert [int(c.max()) for c in track.crops] == list(filled)
    assert track.times_s == [times_s[i] for i in filled]
    assert track.found == [boxes[i] is not None for i in filled]


def test_frames_are_held_no_longer_than_the_gap():
    track = Person(SPEC)
    for i in range(100):
        track.add(Frame(np.zeros((9, 9, 3), np.uint8), i / 3), A if i == 0 else None)
        assert len(track._waiting) <= 4
