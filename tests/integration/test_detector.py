"""The detector against the mtcnn package: the same faces, the same boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from keras_emo.demo_corpus import BuiltinSpec, list_clips
from keras_emo.demo_corpus.corpus import render_clip
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.features.tracking import measure_iou
from keras_emo.spec import FaceSpec

from .conftest import RAVDESS, read_actors

mtcnn = pytest.importorskip("mtcnn")

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    """A frame of each speaker of the demo corpus, RGB uint8 (360, 640, 3), one face in it."""
    spec, frames = BuiltinSpec(), []
    for clip in {name.split("-")[2]: name for name in list_clips(spec)}.values():
        rendered, _ = render_clip(clip, spec)
        frames.append(next(rendered))
    return frames


@pytest.fixture(scope="module")
def package():
    return mtcnn.MTCNN()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def package_boxes(package, frame: np.ndarray, min_confidence: float) -> list[tuple]:
    faces = [f for f in package.detect_faces(frame) if f["confidence"] > min_confidence]
    return sorted((tuple(f["box"]) for f in faces), key=lambda b: b[2] * b[3], reverse=True)


def assert_agrees(package, detector: FaceDetector, frames: list[np.ndarray], mean=0.98) -> None:
    overlaps = []
    for number, frame in enumerate(frames):
        expected = package_boxes(package, frame, detector.spec.min_confidence)
        found = [face.box for face in detector.detect(frame)]
        assert len(found) == len(expected), f"frame {number}: {found} instead of {expected}"
        for box in expected:
            best = max(measure_iou(box, other) for other in found)
            assert best > 0.8, f"frame {number}: lost {box}, found {found}"
        if expected:
            overlaps.append(measure_iou(expected[0], found[0]))
    assert len(overlaps) >= 0.8 * len(frames), "frames without faces prove little"
    assert np.mean(overlaps) >= mean, sorted(overlaps)[:5]  # the package rounds to pixels


def test_drawn_faces_get_the_packages_boxes(package, detector, faces):
    assert_agrees(package, detector, faces)


@pytest.mark.skipif(not RAVDESS.is_dir(), reason="RAVDESS is not on this machine")
def test_real_faces_get_the_packages_boxes(package, detector):
    assert_agrees(package, detector, [frame for clip in read_actors() for frame in clip])


def test_the_smallest_faces_are_found_with_the_packages_pyramid(package, faces):
    small = cv2.resize(faces[1], (120, 68), interpolation=cv2.INTER_AREA)  # about 30 px
    frame = np.full((240, 320, 3), 128, np.uint8)
    frame[100:168, 60:180] = small
    detector = FaceDetector(spec=FaceSpec(min_face_px=20))
    assert_agrees(package, detector, [frame], mean=0.9)


def test_views_of_a_frame_and_opencv_threads_change_nothing(detector, faces):
    frame = faces[2]
    expected = detector.detect(frame)
    assert len(expected) == 1
    padded = np.zeros((360, 700, 3), np.uint8)
    padded[:, 30:670] = frame
    reversed_twice = np.ascontiguousarray(frame[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]
    for view in (padded[:, 30:670], reversed_twice, np.asfortranarray(frame)):
        assert detector.detect(view) == expected
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert detector.detect(frame) == expected
    finally:
        cv2.setNumThreads(threads)
