"""Faces followed through scripted frames: ids, lost tracks, how often a frame is searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_emo.features.tracking import MAX_TRACKS, FaceTracker, measure_iou
from keras_emo.spec import FaceSpec

SPEC = FaceSpec(detect_every=4, max_gap_s=1.0)
FRAME = np.zeros((90, 160, 3), np.uint8)
STEP_S = 1 / 3


class Script:
    """Finds the faces of the frame's number everywhere, or those that overlap a given box."""

    def __init__(self, make, *frames):
        self.frames = [[make.face(box) for box in boxes] for boxes in frames]
        self.now = -1
        self.full: list[int] = []  # numbers of the frames that were searched everywhere
        self.near: list[int] = []

    def detect(self, rgb):
        self.full.append(self.now)
        return self.frames[self.now]

    def refine(self, rgb, boxes):
        self.near.append(self.now)
        return [f for f in self.frames[self.now] if any(measure_iou(f.box, b) > 0 for b in boxes)]


def follow(script: Script, spec: FaceSpec = SPEC, step_s: float = STEP_S):
    """Of each frame, {id: box} of the faces found."""
    tracker, found = FaceTracker(spec, script), []
    for i in range(len(script.frames)):
        script.now = i
        faces = tracker.update(FRAME, i * step_s)
        found.append({f.id: f.box for f in faces if f.found})
    return found


def at(x: float, y: float = 20, side: float = 30):
    return (float(x), float(y), float(side), float(side))


@pytest.mark.parametrize(
    ("every", "full"), [(1, list(range(10))), (3, [0, 3, 6, 9]), (4, [0, 4, 8]), (100, [0])]
)
def test_full_detections_are_as_rare_as_set(make, every, full):
    script = Script(make, *[[at(40 + i)] for i in range(10)])
    found = follow(script, replace(SPEC, detect_every=every))
    assert script.full == full
    assert sorted(script.full + script.near) == list(range(10))
    assert found == [{0: at(40 + i)} for i in range(10)]


def test_a_detector_without_refine_gets_every_frame_once(make):
    detector = make.detector([make.face(at(40))])
    tracker = FaceTracker(SPEC, detector)
    for i in range(9):
        (face,) = tracker.update(FRAME, i * STEP_S)
        assert (face.id, face.box, face.found) == (0, at(40), True)
    assert len(detector.frames) == 9


def test_a_face_hidden_while_crossing_comes_out_with_its_id(make):
    left, right = [at(10 + 9 * i) for i in range(13)], [at(118 - 9 * i, 24) for i in range(13)]
    frames = [[a, b] for a, b in zip(left, right, strict=True)]
    frames[6] = [left[6]]
    found = follow(Script(make, *frames))
    assert found[6] == {0: left[6]}
    assert found[7:] == [{0: a, 1: b} for a, b in frames[7:]]


def test_the_order_of_detections_is_no_matter(make):
    frames = [[at(10), at(80)], [at(81), at(11)], [at(12), at(82)], [at(83), at(13)]]
    for spec in (SPEC, replace(SPEC, detect_every=1)):
        found = follow(Script(make, *frames), spec)
        assert [set(a) for a in found] == [{0, 1}] * 4
        assert all(a[0][0] < 20 and a[1][0] >= 80 for a in found)


def test_a_lost_face_has_the_whole_frame_searched_until_it_is_given_up(make):
    frames = [[at(10), at(80)]] * 2 + [[at(10)]] * 10
    script = Script(make, *frames)
    found = follow(script, replace(SPEC, detect_every=100))
    assert script.full == [0, 2, 3, 4]  # up to 1 s after it was found at 0.33 s
    assert found[2:] == [{0: at(10)}] * 10
    tracker = FaceTracker(SPEC, script)
    lost = []
    for script.now in range(12):
        faces = tracker.update(FRAME, script.now * STEP_S)
        lost += [script.now for f in faces if not f.found]
    assert lost == [2, 3, 4]


def test_without_a_face_every_frame_is_searched(make):
    script = Script(make, [], [], [], [at(50)], [at(51)], [])
    found = follow(script)
    assert found == [{}, {}, {}, {0: at(50)}, {0: at(51)}, {}]
    assert script.full == [0, 1, 2, 3, 5]


def test_a_new_face_is_seen_at_the_next_full_detection(make):
    script = Script(make, [at(10)], [at(10)], *[[at(10), at(90)]] * 4)
    found = follow(script)
    assert [sorted(a) for a in found] == [[0], [0], [0], [0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("n_away", "place", "same"),
    [
        (1, at(44), True),
        (8, at(44), True),  # at its place, within 5 s
        (8, at(100), False),  # elsewhere, long after
        (20, at(40), False),  # too long
        (1, at(40, side=80), False),  # another size
    ],
)
def test_who_comes_back(make, n_away, place, same):
    script = Script(make, [at(40)], [at(40)], *[[]] * n_away, [place], [place])
    found = follow(script)
    assert [set(a) for a in found[-2:]] == [{0 if same else 1}] * 2


def test_unsure_faces_are_passed_over(make):
    detector = make.detector([make.face(at(10), 0.89), make.face(at(80), 0.9)])
    (face,) = FaceTracker(SPEC, detector).update(FRAME, 0.0)
    assert face.box == at(80)


def test_memory_is_bounded(make):
    """Every frame has twelve faces, each at a new place."""
    rng = np.random.default_rng(0)
    frames = [[at(*rng.uniform(0, 5000, 2), 20 + n) for n in range(12)] for _ in range(60)]
    script = Script(make, *frames)
    tracker = FaceTracker(SPEC, script)
    for script.now in range(60):
        faces = tracker.update(FRAME, script.now * STEP_S)
        assert len(tracker._tracks) <= MAX_TRACKS
        kept = sorted(f.box[2] for f in faces if f.found)
        assert kept == [24.0 + n for n in range(8)]  # the largest
    assert len({f.id for f in faces}) == len(faces)


def test_slow_frames_are_followed_too(make):
    """Frames further apart than max_gap_s: those of the frame before still count."""
    script = Script(make, *[[at(40 + i)] for i in range(5)])
    found = follow(script, replace(SPEC, max_gap_s=0.0), step_s=2.0)
    assert [set(a) for a in found] == [{0}] * 5
    assert script.full == [0, 4]


def test_time_goes_on(make):
    tracker = FaceTracker(SPEC, make.detector([]))
    tracker.update(FRAME, 1.0)
    for time_s in (1.0, 0.5):
        with pytest.raises(ValueError, match="after one at"):
            tracker.update(FRAME, time_s)


def test_iou():
    assert measure_iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert measure_iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert measure_iou((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert measure_iou((3, 3, 0, 0), (3, 3, 0, 0)) == 0
