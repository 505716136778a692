"""The arithmetic of boxes and crops that MTCNN's three networks share.

Boxes are float (n, 4): x1, y1, x2, y2 in pixels. As in the ``mtcnn`` package, with its
off-by-one pixels.
"""

from __future__ import annotations

import numpy as np

from keras_emo.features.pyramid import normalize

# Bounds the work on noise: a frame with faces has tens of proposals, not thousands.
MAX_PROPOSALS = 1024


def crop_bilinear(image: np.ndarray, boxes: np.ndarray, size_px: int) -> np.ndarray:
    """tf.image.crop_and_resize: boxes (n, 4) of image (h, w, 3) as (n, size, size, 3) float32.

    image: uint8, of which only the pixels sampled are normalized. Corners are sampled, nothing is
    averaged; samples outside the image are 0.
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
        return normalize(pixels.take(rows[:, :, None] * width + columns[:, None, :], axis=0))

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


def regress(boxes: np.ndarray, regression: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) moved by regression (n, 4), in units of their sizes."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    moved: np.ndarray = boxes + regression * np.tile(sizes, 2)
    return moved


def to_square(boxes: np.ndarray) -> np.ndarray:
    """Grown to their longer side about their center."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def best_first(scores: np.ndarray) -> np.ndarray:
    """Indices (n,) of scores (n,) in descending order."""
    # P-Net's scores tie at 1.0. The later window wins, on every machine; the package leaves
    # that to numpy's unstable sort, and in about 1 frame of 80 a box differs by some pixels.
    return np.argsort(scores, kind="stable")[::-1]


def suppress(
    boxes: np.ndarray, scores: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores that no better box overlaps, best first, at most MAX_PROPOSALS."""
    if len(boxes) < 2:  # the usual case near a known face
        return boxes, scores
    order = best_first(scores)[:MAX_PROPOSALS]
    boxes, scores = boxes[order], scores[order]
    kept = ~overlapped(boxes, threshold)
    return boxes[kept], scores[kept]


def overlapped(boxes: np.ndarray, threshold: float, of_smaller: bool = False) -> np.ndarray:
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
    hidden: np.ndarray = np.triu(shared > threshold * whole, k=1).any(axis=0)
    return hidden
