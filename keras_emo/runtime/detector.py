"""MTCNN on onnxruntime: the boxes of the ``mtcnn`` package, without TensorFlow.

Three networks in a row: P-Net proposes on an image pyramid, R-Net and O-Net refine crops.
The arithmetic follows the package (version 1.0.0), its odd pixels included.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from keras_emo.core.errors import EnvironmentFailure, Reason
from keras_emo.core.spec import FaceSpec
from keras_emo.runtime.session import open_session

PACKAGE_DATA = Path(__file__).resolve().parent / "mtcnn"
NETWORKS = ("pnet.onnx", "rnet.onnx", "onet.onnx")

_DEFAULT_SPEC = FaceSpec()
_CELL_PX = 12  # P-Net's window
_STRIDE_PX = 2
_BASE_FACE_PX = 20  # smallest face of the package's pyramid
_SCALE_FACTOR = 0.709
_PNET_THRESHOLD, _RNET_THRESHOLD = 0.6, 0.7
_SCALE_NMS, _NMS = 0.5, 0.7  # IoU
_RNET_PX, _ONET_PX = 24, 48
# Bounds the work on noise: a frame with faces has tens of proposals, not thousands.
_MAX_PROPOSALS = 1024
_BATCH = 128  # crops per run


@dataclass(frozen=True)
class Face:
    """One face in a frame.

    box: x, y, width, height in pixels of the given frame, inside it. confidence: 0..1.
    keypoints: (5, 2) float32 x, y in pixels, not clamped: left eye, right eye, nose, left and
    right mouth corner, left and right as seen in the picture.
    """

    box: tuple[float, float, float, float]
    confidence: float
    keypoints: np.ndarray | None = field(default=None, compare=False)

    @property
    def area_px(self) -> float:
        return self.box[2] * self.box[3]


class FaceDetector:
    """Finds faces of at least spec.min_face_px in frames shrunk to spec.detect_max_px.

    folder: holds pnet.onnx, rnet.onnx and onet.onnx; None means the ones shipped here.
    threads: of the networks; the rest runs on the calling thread and OpenCV's.
    Raises EnvironmentFailure when a network is missing, BundleError when one does not load.
    """

    def __init__(
        self, folder: Path | None = None, spec: FaceSpec = _DEFAULT_SPEC, threads: int = 1
    ):
        folder = PACKAGE_DATA if folder is None else folder
        for name in NETWORKS:
            if not (folder / name).is_file():
                cause = "the face detector's network is missing"
                raise EnvironmentFailure(folder / name, Reason.NOT_FOUND, cause)
        self.spec = spec
        sessions = [open_session(folder / name, threads) for name in NETWORKS]
        self._pnet, self._rnet, self._onet = sessions

    @staticmethod
    def weights_digest(folder: Path | None = None) -> str:
        """Sixteen hex digits of the three networks: other weights find other boxes."""
        total = hashlib.sha256()
        for name in NETWORKS:
            total.update(((folder or PACKAGE_DATA) / name).read_bytes())
        return total.hexdigest()[:16]

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Faces in ``rgb``, uint8 (height, width, 3), largest first; none found: [].

        spec.min_face_px counts in the picture the detector sees, that is after shrinking.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"expected uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}")
        height_px, width_px = rgb.shape[:2]
        if min(height_px, width_px) < _CELL_PX:
            return []
        rgb = np.ascontiguousarray(rgb)  # OpenCV refuses some views
        shrink = min(1.0, self.spec.detect_max_px / max(height_px, width_px))
        if shrink < 1.0:
            size = (max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        image = (rgb.astype(np.float32) - 127.5) * np.float32(1 / 128)
        boxes, scores, keypoints = self._refine(image, self._propose(image))
        limit = np.array([image.shape[1] - 1, image.shape[0] - 1] * 2, np.float32)
        back = np.array([width_px / image.shape[1], height_px / image.shape[0]], np.float32)
        boxes = np.clip(boxes, 0, limit) * np.tile(back, 2)
        keypoints = keypoints * back
        faces = [
            Face((float(x1), float(y1), float(x2 - x1), float(y2 - y1)), float(score), points)
            for (x1, y1, x2, y2), score, points in zip(boxes, scores, keypoints, strict=True)
            if x2 > x1 and y2 > y1
        ]
        return sorted(faces, key=lambda face: face.area_px, reverse=True)

    def _propose(self, image: np.ndarray) -> np.ndarray:
        """P-Net over the pyramid: square boxes (n, 4) x1, y1, x2, y2, best first."""
        found_boxes, found_scores = [], []
        for scale in pyramid_scales(image.shape[0], image.shape[1], self.spec.min_face_px):
            size = (int(image.shape[1] * scale), int(image.shape[0] * scale))
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            regression, score = self._pnet.run(["boxes", "scores"], {"image": level[None]})
            rows, columns = np.nonzero(score[0] > _PNET_THRESHOLD)
            if not rows.size:
                continue
            boxes = np.stack([columns, rows, columns, rows], axis=1) * _STRIDE_PX
            boxes = boxes + np.array([1, 1, _CELL_PX, _CELL_PX])
            boxes = (boxes + regression[0, rows, columns] * (_CELL_PX - 1)) / scale
            boxes, scores = _suppress(boxes, score[0, rows, columns], _SCALE_NMS)
            found_boxes.append(boxes)
            found_scores.append(scores)
        if not found_boxes:
            return np.empty((0, 4))
        boxes, _ = _suppress(np.concatenate(found_boxes), np.concatenate(found_scores), _NMS)
        return _to_square(boxes)

    def _refine(
        self, image: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """R-Net, then O-Net: boxes (n, 4), scores (n,), keypoints (n, 5, 2)."""
        nothing = np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
        if not len(boxes):
            return nothing
        regression, scores = self._run(self._rnet, image, boxes, _RNET_PX, ["boxes", "scores"])
        kept = scores > _RNET_THRESHOLD
        if not kept.any():
            return nothing
        boxes = _regress(boxes[kept], regression[kept])
        boxes = _to_square(_suppress(boxes, scores[kept], _NMS)[0])

        names = ["boxes", "scores", "landmarks"]
        regression, scores, landmarks = self._run(self._onet, image, boxes, _ONET_PX, names)
        kept = scores > self.spec.min_confidence
        boxes, scores = boxes[kept], scores[kept]
        keypoints = landmarks[kept].reshape(-1, 2, 5).transpose(0, 2, 1)
        sizes = boxes[:, 2:] - boxes[:, :2] + 1
        keypoints = keypoints * sizes[:, None] + boxes[:, None, :2] - 1
        boxes = _regress(boxes, regression[kept])
        order = _best_first(scores)
        boxes, scores, keypoints = boxes[order], scores[order], keypoints[order]
        kept = ~_overlapped(boxes, _NMS, of_smaller=True)
        return boxes[kept], scores[kept], keypoints[kept].astype(np.float32)

    @staticmethod
    def _run(
        session: onnxruntime.InferenceSession,
        image: np.ndarray,
        boxes: np.ndarray,
        size_px: int,
        names: list[str],
    ) -> list[np.ndarray]:
        parts = [
            session.run(names, {"image": crop_bilinear(image, boxes[i : i + _BATCH], size_px)})
            for i in range(0, len(boxes), _BATCH)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def pyramid_scales(height_px: int, width_px: int, min_face_px: float) -> list[float]:
    """Scales at which a 12 px window meets faces of min_face_px and more.

    A part of the mtcnn package's default pyramid, so that boxes agree: it starts at the
    largest window that is no larger than min_face_px.
    """
    scales = []
    scale = _CELL_PX / _BASE_FACE_PX
    while int(min(height_px, width_px) * scale) >= _CELL_PX:
        if _CELL_PX / (scale * _SCALE_FACTOR) > min_face_px:
            scales.append(scale)
        scale *= _SCALE_FACTOR
    return scales


def crop_bilinear(image: np.ndarray, boxes: np.ndarray, size_px: int) -> np.ndarray:
    """tf.image.crop_and_resize: boxes (n, 4) of image (h, w, 3) as (n, size, size, 3) float32.

    Corners are sampled, nothing is averaged; samples outside the image are 0.
    """
    height, width = image.shape[:2]
    ys, y_inside = _sample_grid(boxes[:, 1], boxes[:, 3], height, size_px)
    xs, x_inside = _sample_grid(boxes[:, 0], boxes[:, 2], width, size_px)
    top, left = ys.astype(np.intp), xs.astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down = (ys - top).astype(np.float32)[:, :, None, None]
    along = (xs - left).astype(np.float32)[:, None, :, None]
    pixels = image.reshape(-1, 3)

    def gather(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return pixels.take(rows[:, :, None] * width + columns[:, None, :], axis=0)

    upper = gather(top, left)
    upper += (gather(top, right) - upper) * along
    lower = gather(bottom, left)
    lower += (gather(bottom, right) - lower) * along
    upper += (lower - upper) * down
    inside = y_inside[:, :, None] & x_inside[:, None, :]
    if not inside.all():
        upper[~inside] = 0
    return upper


def _sample_grid(
    start: np.ndarray, end: np.ndarray, length: int, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    # the package divides pixels by the length, TensorFlow multiplies by the length less one
    start, end = (side * ((length - 1) / length) for side in (start, end))
    steps = np.arange(size_px) * ((end - start) / (size_px - 1))[:, None]
    grid = start[:, None] + steps
    inside = (grid >= 0) & (grid <= length - 1)
    return np.clip(grid, 0, length - 1), inside


def _regress(boxes: np.ndarray, regression: np.ndarray) -> np.ndarray:
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + regression * np.tile(sizes, 2)


def _to_square(boxes: np.ndarray) -> np.ndarray:
    """Grown to their longer side about their centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _best_first(scores: np.ndarray) -> np.ndarray:
    # P-Net's scores tie at 1.0. The later window wins, on every machine; the package leaves
    # that to numpy's unstable sort, and in about 1 frame of 80 a box differs by some pixels.
    return np.argsort(scores, kind="stable")[::-1]


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores that no better box overlaps, best first, at most _MAX_PROPOSALS."""
    order = _best_first(scores)[:_MAX_PROPOSALS]
    boxes, scores = boxes[order], scores[order]
    kept = ~_overlapped(boxes, threshold)
    return boxes[kept], scores[kept]


def _overlapped(boxes: np.ndarray, threshold: float, of_smaller: bool = False) -> np.ndarray:
    """Which boxes, best first, a better one overlaps by more than threshold; bool (n,).

    As in the package, a suppressed box suppresses others too. of_smaller: the overlap is
    counted against the smaller box's area instead of the union.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T, dtype=np.float32)
    width = np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1)
    height = np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    whole = np.minimum.outer(area, area) if of_smaller else np.add.outer(area, area) - shared
    # not divided: a box without area overlaps nothing
    return np.triu(shared > threshold * whole, k=1).any(axis=0)
