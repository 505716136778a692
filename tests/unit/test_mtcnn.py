"""The face detector on its own, and the export of its networks."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from keras_emo.errors import BundleError, EnvironmentFailure, Reason
from keras_emo.features.boxes import crop_bilinear, overlapped
from keras_emo.features.mtcnn import PACKAGE_DATA, FaceDetector
from keras_emo.features.pyramid import pyramid_scales
from keras_emo.inference import session
from keras_emo.spec import FaceSpec


class Network:
    """A session with the same output for every window or crop."""

    def __init__(self, boxes: list[float], score: float):
        self.boxes, self.score = boxes, score
        self.batches: list[tuple[int, ...]] = []

    def run(self, names, feeds):
        image = feeds["image"]
        self.batches.append(image.shape)
        shape = image.shape[:1]
        if image.shape[1:3] not in ((24, 24), (48, 48)):  # P-Net
            shape = (1, (image.shape[1] - 10) // 2, (image.shape[2] - 10) // 2)
        outputs = {
            "boxes": np.broadcast_to(np.float32(self.boxes), (*shape, 4)),
            "scores": np.full(shape, self.score, np.float32),
        }
        return [outputs[name] for name in names]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def faked(pnet: Network, rnet: Network, onet: Network, spec: FaceSpec) -> FaceDetector:
    detector = FaceDetector(spec=spec)
    detector._pnet, detector._rnet, detector._onet = pnet, rnet, onet
    return detector


def test_no_face_in_tiny_and_blank_frames(detector):
    boxes = [(200.0, 80.0, 150.0, 200.0), (-500.0, -500.0, 90.0, 90.0), (5.0, 5.0, 1.0, 1.0)]
    for shape in ((0, 0), (1, 1), (16, 16), (11, 640), (24, 24), (20, 3000), (360, 640)):
        for level in (0, 128, 255):
            frame = np.full((*shape, 3), level, np.uint8)
            assert detector.detect(frame) == detector.refine(frame, boxes) == []
    assert detector.refine(frame, []) == []


@pytest.mark.parametrize(
    "frame",
    [np.zeros((90, 90)), np.zeros((90, 90, 4), np.uint8), np.zeros((90, 90, 3), np.float32)],
)
def test_other_arrays_are_refused(detector, frame):
    for call in (detector.detect, lambda rgb: detector.refine(rgb, [(9.0, 9.0, 50.0, 50.0)])):
        with pytest.raises(ValueError, match="uint8"):
            call(frame)


def test_boxes_are_clamped_and_empty_ones_dropped():
    spec = FaceSpec(min_face_px=40)
    sure = Network([0, 0, 0, 0], 0.99)
    frame = np.zeros((100, 160, 3), np.uint8)
    grown = faked(sure, sure, Network([-9, -9, 9, 9], 0.99), spec).detect(frame)
    assert [face.box for face in grown] == [(0, 0, 159, 99)]
    outside = faked(sure, sure, Network([-30, 0, -30, 0], 0.99), spec).detect(frame)
    assert outside == []


def test_thresholds():
    sure, unsure = Network([0, 0, 0, 0], 0.99), Network([0, 0, 0, 0], 0.85)
    frame, boxes = np.zeros((360, 640, 3), np.uint8), [(250.0, 100.0, 100.0, 120.0)]
    low = Network([0, 0, 0, 0], 0.69)
    for search in (lambda d: d.detect(frame), lambda d: d.refine(frame, boxes)):
        assert search(faked(sure, sure, unsure, FaceSpec())) == []
        assert search(faked(sure, low, sure, FaceSpec())) == []
        found = search(faked(sure, sure, unsure, FaceSpec(min_confidence=0.8)))
        assert {round(face.confidence, 4) for face in found} == {0.85}
        areas = [face.box[2] * face.box[3] for face in found]
        assert areas == sorted(areas, reverse=True)


def test_large_frames_are_shrunk_and_boxes_scaled_back():
    sure = Network([0, 0, 0, 0], 0.99)
    pnet, onet = Network([0, 0, 0, 0], 0.99), Network([-9, -9, 9, 9], 0.99)
    spec = FaceSpec(min_face_px=20, detect_max_px=640)
    (face,) = faked(pnet, sure, onet, spec).detect(np.zeros((1080, 1920, 3), np.uint8))
    assert pnet.batches[0] == (1, 216, 384, 3)  # 640x360 at 12 / 20
    assert face.box == pytest.approx((0, 0, 639 * 3, 359 * 3))


def test_refine_searches_near_the_boxes_for_faces_of_their_size():
    """Boxes in px of a large frame; only a small part of P-Net's pyramid is scanned."""
    sure = Network([0, 0, 0, 0], 0.99)
    pnet = Network([0, 0, 0, 0], 0.99)
    box = (900.0, 300.0, 150.0, 180.0)  # 60 px in the shrunk picture
    faces = faked(pnet, sure, sure, FaceSpec()).refine(np.zeros((1080, 1920, 3), np.uint8), [box])
    assert 1 <= len(pnet.batches) <= 3
    assert all(max(shape[1:3]) <= 40 for shape in pnet.batches)
    assert faces
    for face in faces:
        x, y, width, height = face.box
        assert x > 700
        assert x + width < 1250
        assert y > 100
        assert y + height < 680
        assert 0.4 * 180 < width < 1.8 * 180


def test_pyramid_starts_at_the_smallest_face():
    everything = pyramid_scales(360, 640, 20)
    assert len(everything) == 9  # as the package
    assert everything[0] == pytest.approx(0.6)
    assert pyramid_scales(360, 640, 40) == everything[2:]  # windows of 39.8 px and more
    assert pyramid_scales(16, 16, 20) == []
    assert 12 / pyramid_scales(1080, 1080, 100)[0] <= 100


def test_crops_sample_bilinearly_and_pad_with_zeros():
    rows, columns = np.mgrid[:40, :60].astype(np.float32)
    image = (np.stack([rows, columns, rows + columns], axis=2) + 130).astype(np.uint8)
    # box sides in units where pixel p of n reads p * (n - 1) / n
    boxes = np.array([[60 / 59 * 10.5, 40 / 39 * 2.25, 60 / 59 * 33.5, 40 / 39 * 25.25]])
    crop = crop_bilinear(image, boxes, 24)[0]
    crop = crop * 128 - 2.5
    assert crop[..., 0] == pytest.approx(np.tile(np.arange(24)[:, None] + 2.25, (1, 24)), abs=1e-4)
    assert crop[..., 1] == pytest.approx(np.tile(np.arange(24) + 10.5, (24, 1)), abs=1e-4)
    outside = crop_bilinear(image, np.array([[-40.0, -40, 20, 20]]), 24)[0]
    assert not outside[:15].any()
    assert not outside[:, :15].any()
    assert outside[17:, 17:].all()


def test_overlap_counts_suppressed_boxes_and_survives_degenerate_ones():
    boxes = np.array(
        [[0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [50, 50, 50, 50], [9, 9, 5, 5]]
    )
    assert overlapped(boxes, 0.6).tolist() == [False, True, True, False, False]
    nested = np.array([[0, 0, 10, 10], [2, 2, 4, 4]])
    assert overlapped(nested, 0.5).tolist() == [False, False]
    assert overlapped(nested, 0.5, of_smaller=True).tolist() == [False, True]


def test_a_missing_or_broken_network_is_named(tmp_path):
    with pytest.raises(EnvironmentFailure) as caught:
        FaceDetector(tmp_path)
    assert caught.value.reason is Reason.NOT_FOUND
    for name in ("pnet", "rnet", "onet"):
        (tmp_path / f"{name}.onnx").write_bytes(b"not a network")
    with pytest.raises(BundleError) as broken:
        FaceDetector(tmp_path)
    assert broken.value.path.endswith("pnet.onnx")


def test_package_data_reads_as_documented():
    expected = {
        "pnet": {"boxes": 4, "scores": 3},
        "rnet": {"boxes": 2, "scores": 1},
        "onet": {"boxes": 2, "scores": 1, "landmarks": 2},
    }
    for name, ranks in expected.items():
        opened = session.open_session(PACKAGE_DATA / f"{name}.onnx", threads=1)
        assert [i.name for i in opened.get_inputs()] == ["image"]
        assert {o.name: len(o.shape) for o in opened.get_outputs()} == ranks
        side = opened.get_inputs()[0].shape[1]
        side = side if isinstance(side, int) else 15
        outputs = opened.run(None, {"image": np.zeros((3, side, side, 3), np.float32)})
        assert all(len(array) == 3 and np.isfinite(array).all() for array in outputs)
    assert "MIT License" in (PACKAGE_DATA / "LICENSE").read_text()


def test_export_reproduces_the_shipped_networks(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("joblib")
    pytest.importorskip("lz4")
    if importlib.util.find_spec("mtcnn") is None:  # importing it would load TensorFlow
        pytest.skip("mtcnn is not installed")
    from tools.export_detector import export_detector

    paths = export_detector(tmp_path / "new")
    assert set(paths) == {"pnet", "rnet", "onet"}
    for name, path in paths.items():
        assert path.read_bytes() == (PACKAGE_DATA / f"{name}.onnx").read_bytes(), name
