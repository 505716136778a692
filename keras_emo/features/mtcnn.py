"""MTCNN on onnxruntime: the boxes of the ``mtcnn`` package, without TensorFlow.

Three networks in a row: P-Net proposes on an image pyramid, R-Net and O-Net refine crops.
The arithmetic follows the package (version 1.0.0), with its off-by-one pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.features.boxes import (
    best_first,
    crop_bilinear,
    overlapped,
    regress,
    suppress,
    to_square,
)
from keras_emo.features.face import Box, DetectedFace
from keras_emo.features.pyramid import CELL_PX, STRIDE_PX, levels_near, normalize, pyramid_scales
from keras_emo.inference.session import open_session
from keras_emo.spec import FaceSpec

PACKAGE_DATA = Path(__file__).resolve().parent / "mtcnn_weights"
NETWORKS = ("pnet.onnx", "rnet.onnx", "onet.onnx")

_DEFAULT_SPEC = FaceSpec()
_PNET_THRESHOLD, _RNET_THRESHOLD = 0.6, 0.7
_SCALE_NMS, _NMS = 0.5, 0.7  # IoU
_RNET_PX, _ONET_PX = 24, 48
_BATCH = 128  # crops per run


class FaceDetector:
    """Finds faces of at least spec.min_face_px in frames shrunk to spec.detect_max_px.

    folder: holds pnet.onnx, rnet.onnx and onet.onnx; None means the ones shipped here.
    They run on the calling thread: on two threads, such small networks wait longer than they
    compute.
    Raises EnvironmentFailure when a network is missing, BundleError when one does not load.
    """

    def __init__(self, folder: Path | None = None, spec: FaceSpec = _DEFAULT_SPEC):
        folder = PACKAGE_DATA if folder is None else folder
        for name in NETWORKS:
            if not (folder / name).is_file():
                cause = "the face detector's network is missing"
                raise EnvironmentFailure(folder / name, Reason.NOT_FOUND, cause)
        self.spec = spec
        sessions = [open_session(folder / name, threads=1) for name in NETWORKS]
        self._pnet, self._rnet, self._onet = sessions

    @staticmethod
    def weights_digest() -> str:
        """Sixteen hex digits of the three networks shipped here: other weights, other boxes."""
        weights = b"".join((PACKAGE_DATA / name).read_bytes() for name in NETWORKS)
        return hashlib.sha256(weights).hexdigest()[:16]

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in ``rgb``, uint8 (height, width, 3), largest first; none found: [].

        spec.min_face_px counts after shrinking.
        Raises ValueError for another kind of array.
        """
        picture = self._shrink(rgb)
        return self._find(rgb, picture, self._propose(picture)) if picture.size else []

    def refine(self, rgb: np.ndarray, boxes: Sequence[Box]) -> list[DetectedFace]:
        """Faces near ``boxes``, which detect gave for a picture shortly before.

        rgb: as in detect. boxes: x, y, width, height in its pixels. Searches 1.3 times the
        width of each box, for faces of about its size; all thresholds are detect's. Several
        times faster than detect; the boxes are nearly the same, not to the bit.
        """
        picture = self._shrink(rgb)
        if not picture.size or not len(boxes):
            return []
        known = np.array(boxes, np.float64)
        known[:, 2:] += known[:, :2]
        known *= np.tile([picture.shape[1] / rgb.shape[1], picture.shape[0] / rgb.shape[0]], 2)
        return self._find(rgb, picture, self._propose_near(picture, to_square(known)))

    def warm_up(self) -> None:
        """Run each of the three networks once, so that the first picture is as fast as others."""
        side_px = self.spec.detect_max_px
        self._propose(np.zeros((side_px * 9 // 16, side_px, 3), np.uint8))
        for session, size_px in ((self._rnet, _RNET_PX), (self._onet, _ONET_PX)):
            session.run(["boxes"], {"image": np.zeros((1, size_px, size_px, 3), np.float32)})

    def _shrink(self, rgb: np.ndarray) -> np.ndarray:
        """The input of the networks before normalize: uint8; empty if it is too small."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"expected uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}")
        height_px, width_px = rgb.shape[:2]
        if min(height_px, width_px) < CELL_PX:
            return np.empty((0, 0, 3), np.uint8)
        rgb = np.ascontiguousarray(rgb)  # OpenCV refuses some views
        shrink = min(1.0, self.spec.detect_max_px / max(height_px, width_px))
        if shrink < 1.0:
            size = (max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        return rgb

    def _find(self, rgb: np.ndarray, picture: np.ndarray, found: np.ndarray) -> list[DetectedFace]:
        boxes, scores = self._refine(picture, found)
        limit = np.array([picture.shape[1] - 1, picture.shape[0] - 1] * 2, np.float32)
        scale = rgb.shape[1] / picture.shape[1], rgb.shape[0] / picture.shape[0]
        boxes = np.clip(boxes, 0, limit) * np.array(scale * 2, np.float32)
        faces = [
            DetectedFace((float(x1), float(y1), float(x2 - x1), float(y2 - y1)), float(score))
            for (x1, y1, x2, y2), score in zip(boxes, scores, strict=True)
            if x2 > x1 and y2 > y1
        ]
        return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def _propose(self, picture: np.ndarray) -> np.ndarray:
        """P-Net over the pyramid: square boxes (n, 4), best first."""
        image, found = normalize(picture), []
        for scale in pyramid_scales(image.shape[0], image.shape[1], self.spec.min_face_px):
            size = (int(image.shape[1] * scale), int(image.shape[0] * scale))
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            found.append(self._scan(level, scale))
        return _merge(found)

    def _propose_near(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """P-Net near square boxes (n, 4) only: square boxes (n, 4), best first."""
        scales = pyramid_scales(picture.shape[0], picture.shape[1], self.spec.min_face_px)
        return _merge([self._scan(*cut) for cut in levels_near(picture, scales, boxes)])

    def _scan(
        self, level: np.ndarray, scale: float, left: int = 0, top: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """P-Net on a level of the pyramid, or a region of it from (left, top): boxes and scores."""
        regression, score = self._pnet.run(["boxes", "scores"], {"image": level[None]})
        rows, columns = np.nonzero(score[0] > _PNET_THRESHOLD)
        boxes = np.stack([columns, rows, columns, rows], axis=1) * STRIDE_PX
        boxes = boxes + np.array([left + 1, top + 1, left + CELL_PX, top + CELL_PX])
        boxes = (boxes + regression[0, rows, columns] * (CELL_PX - 1)) / scale
        return suppress(boxes, score[0, rows, columns], _SCALE_NMS)

    def _refine(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R-Net, then O-Net: boxes (n, 4), scores (n,)."""
        nothing = np.empty((0, 4)), np.empty(0)
        if not len(boxes):
            return nothing
        regression, scores = self._run(self._rnet, picture, boxes, _RNET_PX)
        kept = scores > _RNET_THRESHOLD
        if not kept.any():
            return nothing
        boxes = regress(boxes[kept], regression[kept])
        boxes = to_square(suppress(boxes, scores[kept], _NMS)[0])

        regression, scores = self._run(self._onet, picture, boxes, _ONET_PX)
        kept = scores > self.spec.min_confidence
        boxes, scores = regress(boxes[kept], regression[kept]), scores[kept]
        order = best_first(scores)
        boxes, scores = boxes[order], scores[order]
        kept = ~overlapped(boxes, _NMS, of_smaller=True)
        return boxes[kept], scores[kept]

    @staticmethod
    def _run(
        session: onnxruntime.InferenceSession, picture: np.ndarray, boxes: np.ndarray, size_px: int
    ) -> list[np.ndarray]:
        """Regression (n, 4) and scores (n,) of the crops that boxes (n, 4) cut out."""
        batches = []
        for i in range(0, len(boxes), _BATCH):
            crops = crop_bilinear(picture, boxes[i : i + _BATCH], size_px)
            batches.append(session.run(["boxes", "scores"], {"image": crops}))
        return [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]


def _merge(found: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Boxes and scores of several levels as square boxes (n, 4), best first."""
    if not found:
        return np.empty((0, 4))
    boxes, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return to_square(suppress(boxes, scores, _NMS)[0])
