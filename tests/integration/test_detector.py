"""The detector against the mtcnn package: the same faces, the same boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_emo.features.mtcnn import FaceDetector
from keras_emo.spec import FaceSpec

mtcnn = pytest.importorskip("mtcnn")

pytestmark = pytest.mark.tensorflow

RAVDESS = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess"
ACTORS = 6


def drawn_face(seed: int, height_px: int = 360, width_px: int = 640) -> np.ndarray:
    """A shaded drawing of one face, RGB uint8: enough of one for MTCNN."""
    rng = np.random.default_rng(seed)
    x, y = width_px // 2 + rng.integers(-90, 90), height_px // 2 + rng.integers(-30, 20)
    unit = rng.uniform(60, 70)  # half a head's width
    image = np.full((height_px, width_px, 3), rng.integers(140, 190, 3), np.float32)
    skin = np.array([214, 168, 140], np.float32) * rng.uniform(0.85, 1.05)

    def ellipse(dx: float, dy: float, rx: float, ry: float, colour, arc=(0, 360), width=-1) -> None:
        centre = (round(x + dx * unit), round(y + dy * unit))
        axes = (max(1, round(rx * unit)), max(1, round(ry * unit)))
        colour = tuple(float(c) for c in colour)
        cv2.ellipse(image, centre, axes, 0, *arc, colour, width, cv2.LINE_AA)

    hair, dark, lips = np.array([60, 42, 30]), skin * 0.62, np.array([165, 85, 85])
    ellipse(0, -0.25, 1.12, 1.3, hair)
    ellipse(0, 1.5, 0.5, 0.7, skin * 0.8)  # neck
    ellipse(0, 2.6, 2.2, 0.9, (70, 80, 110))  # shoulders
    ellipse(0, 0.1, 0.95, 1.25, skin)
    for side in (-1, 1):
        ellipse(side * 0.4, -0.12, 0.27, 0.17, skin * 0.8)  # socket
        ellipse(side * 0.4, -0.1, 0.19, 0.09, (240, 238, 235))
        ellipse(side * 0.4, -0.1, 0.085, 0.09, (60, 45, 35))
        ellipse(side * 0.4, -0.1, 0.045, 0.045, (10, 10, 10))
        ellipse(side * 0.4 - 0.03, -0.13, 0.02, 0.02, (255, 255, 255))
        ellipse(side * 0.4, -0.27, 0.26, 0.09, hair, (190, 350), max(2, round(0.07 * unit)))
        ellipse(side * 0.09, 0.4, 0.06, 0.035, skin * 0.45)  # nostril
    ellipse(0, 0.36, 0.2, 0.1, dark, (20, 160), 3)
    ellipse(0.09, 0.1, 0.04, 0.28, skin * 0.85)
    ellipse(0, 0.75, 0.34, 0.11, lips)
    ellipse(0, 0.74, 0.32, 0.02, lips * 0.5)

    columns = (np.arange(width_px) - x) / unit
    light = np.clip(1.05 - 0.22 * columns**2, 0.55, 1.05)[None, :, None]  # falls off sideways
    image = cv2.GaussianBlur(image * light.astype(np.float32), (0, 0), 1.2)
    image += rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def ravdess_frames() -> list[np.ndarray]:
    """Every tenth frame of one clip for each of several actors, RGB uint8."""
    import av

    frames = []
    for number, folder in enumerate(sorted(RAVDESS.glob("Actor_*"))[:ACTORS]):
        clips = sorted(folder.glob("*.mp4"))
        if not clips:
            continue
        with av.open(str(clips[7 * number % len(clips)])) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % 10 == 0:
                    frames.append(frame.to_ndarray(format="rgb24"))
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


def iou(a, b) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def assert_agrees(package, detector: FaceDetector, frames: list[np.ndarray]) -> None:
    overlaps = []
    for number, frame in enumerate(frames):
        expected = package_boxes(package, frame, detector.spec.min_confidence)
        found = [face.box for face in detector.detect(frame)]
        assert len(found) == len(expected), f"frame {number}: {found} instead of {expected}"
        for box in expected:
            best = max(iou(box, other) for other in found)
            assert best > 0.8, f"frame {number}: lost {box}, found {found}"
        if expected:
            overlaps.append(iou(expected[0], found[0]))
    assert len(overlaps) >= 0.8 * len(frames), "frames without faces prove little"
    assert np.mean(overlaps) >= 0.98, sorted(overlaps)[:5]  # the package rounds to pixels


def test_drawn_faces_get_the_packages_boxes(package, detector):
    assert_agrees(package, detector, [drawn_face(seed) for seed in range(10)])


@pytest.mark.skipif(not RAVDESS.is_dir(), reason="RAVDESS is not on this machine")
def test_real_faces_get_the_packages_boxes(package, detector):
    assert_agrees(package, detector, ravdess_frames())


def test_the_smallest_faces_are_found_with_the_packages_pyramid(package):
    small = cv2.resize(drawn_face(1), (120, 68), interpolation=cv2.INTER_AREA)  # about 24 px
    frame = np.full((240, 320, 3), 128, np.uint8)
    frame[100:168, 60:180] = small
    detector = FaceDetector(spec=FaceSpec(min_face_px=20))
    assert_agrees(package, detector, [frame])


def test_views_of_a_frame_and_opencv_threads_change_nothing(detector):
    frame = drawn_face(2)
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


def test_a_shrunk_frame_gives_the_box_in_its_own_pixels(detector):
    frame = drawn_face(3)
    large = cv2.resize(frame, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    (face,), (expected,) = detector.detect(large), detector.detect(frame)
    assert iou(face.box, tuple(3 * side for side in expected.box)) > 0.9
