"""Followed faces against full detection of every frame, on real clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from keras_emo.features.mtcnn import FaceDetector
from keras_emo.features.tracking import FaceTracker, measure_iou
from keras_emo.spec import FaceSpec

from .conftest import RAVDESS, read_actors

SPEC = FaceSpec()

pytestmark = pytest.mark.skipif(not RAVDESS.is_dir(), reason="RAVDESS is not on this machine")


class Counting:
    """A detector that counts its full detections."""

    def __init__(self, detector: FaceDetector):
        self.refine, self._detect = detector.refine, detector.detect
        self.n_full = 0

    def detect(self, rgb):
        self.n_full += 1
        return self._detect(rgb)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(spec=SPEC)


@pytest.fixture(scope="module")
def clips() -> list[list[np.ndarray]]:
    """Three frames a second of one clip for each of several actors."""
    return read_actors()


def compare(detector: FaceDetector, frames: list[np.ndarray]) -> tuple[list[float], int, int]:
    """IoU of the largest face, followed and detected, of each frame; full detections; people."""
    counting = Counting(detector)
    tracker, overlaps, ids = FaceTracker(SPEC, counting), [], set()
    for i, frame in enumerate(frames):
        faces = [f for f in tracker.update(frame, i / 3) if f.found]
        ids |= {f.id for f in faces}
        expected = detector.detect(frame)
        if expected:
            assert len(faces) >= 1, f"frame {i}: lost {expected[0].box}"
            overlaps.append(max(measure_iou(expected[0].box, f.box) for f in faces))
    return overlaps, counting.n_full, len(ids)


def test_boxes_and_cost(detector, clips):
    overlaps, n_frames, n_full = [], 0, 0
    for frames in clips:
        found, full, n_people = compare(detector, frames)
        overlaps += found
        n_frames, n_full = n_frames + len(frames), n_full + full
        assert n_people <= 2
    assert len(overlaps) >= 0.9 * n_frames
    assert np.mean(overlaps) >= 0.93, sorted(overlaps)[:5]
    assert min(overlaps) >= 0.6
    assert n_full <= 0.3 * n_frames


@pytest.mark.parametrize("step_px", [10, 30])
def test_small_faces_that_move(detector, clips, step_px):
    """A face of about 100 px goes to and fro by 10 or 30 px a frame over grey."""
    overlaps = []
    for frames in clips[:3]:
        moved = []
        for i, frame in enumerate(frames):
            small = cv2.resize(frame, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
            picture = np.full((360, 640, 3), 120, np.uint8)
            left = 20 + step_px * (i if i < 6 else 12 - i) + 60
            picture[100 : 100 + small.shape[0], left : left + small.shape[1]] = small
            moved.append(picture)
        overlaps += compare(detector, moved)[0]
    assert np.mean(overlaps) >= 0.9, sorted(overlaps)[:5]


def test_refined_boxes_do_not_wander(detector, clips):
    """A still picture, looked at nearby a hundred times."""
    frame = clips[0][0]
    (first, *_) = detector.detect(frame)
    box = first.box
    for _ in range(100):
        (face, *_) = detector.refine(frame, [box])
        box = face.box
    assert measure_iou(first.box, box) >= 0.8
