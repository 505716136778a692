"""The sizes at which P-Net sees a picture: a window of 12 px meets small and large faces."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

CELL_PX = 12  # P-Net's window
STRIDE_PX = 2
_BASE_FACE_PX = 20  # smallest face of the package's pyramid
_SCALE_FACTOR = 0.709
# Near a known box: side of the region over the box's, and windows over the box's side, from, to.
_REGION, _WINDOWS = 1.3, (0.5, 1.2)
# Coarse levels are made from a halved picture, this many times finer at least: to shrink the
# full one takes longer than P-Net does.
_FINER = 4.0


def pyramid_scales(height_px: int, width_px: int, min_face_px: float) -> list[float]:
    """Scales at which a 12 px window meets faces of min_face_px and more.

    A part of the mtcnn package's default pyramid, so that boxes agree: it starts at the
    largest window that is no larger than min_face_px.
    """
    scales = []
    scale = CELL_PX / _BASE_FACE_PX
    while int(min(height_px, width_px) * scale) >= CELL_PX:
        if CELL_PX / (scale * _SCALE_FACTOR) > min_face_px:
            scales.append(scale)
        scale *= _SCALE_FACTOR
    return scales


def levels_near(
    image: np.ndarray, scales: list[float], boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, float, int, int]]:
    """The parts of a pyramid that show faces about as large as, and near, square boxes.

    image: float32 (height, width, 3). boxes: (n, 4) x1, y1, x2, y2 in its pixels. Yields parts
    of levels of at least one window, their scale and the left and top pixel of the level where
    they start; cells lie as on the whole level.
    """
    height, width = image.shape[:2]
    halved = [image]
    for x1, y1, x2, y2 in boxes:
        side = max(x2 - x1, 1.0)
        for scale in scales:
            window = CELL_PX / scale
            if not _WINDOWS[0] <= window / side <= _WINDOWS[1]:
                continue
            times = max(0, int(np.log2(max(1.0, 1 / (scale * _FINER)))))
            while len(halved) <= times:
                half = (max(1, halved[-1].shape[1] // 2), max(1, halved[-1].shape[0] // 2))
                halved.append(cv2.resize(halved[-1], half, interpolation=cv2.INTER_AREA))
            reach = max(side * _REGION, window) / 2
            columns = _find_cells((x1 + x2) / 2, reach, scale, width)
            rows = _find_cells((y1 + y2) / 2, reach, scale, height)
            size = (int(height * scale), int(width * scale))
            level = _cut_level(halved[times], size, rows, columns)
            if level is not None:
                yield level, scale, columns[0], rows[0]


def _find_cells(centre: float, reach: float, scale: float, length: int) -> tuple[int, int]:
    """First and end pixel of a level around a place of the picture; P-Net's grid is even."""
    first = int(max(0.0, centre - reach) * scale) // STRIDE_PX * STRIDE_PX
    return first, min(int(length * scale), int(np.ceil((centre + reach) * scale)))


def _cut_level(
    image: np.ndarray, size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray | None:
    """A part of the level of size (height, width), or None where it holds no window."""
    (top, bottom), (left, right) = rows, columns
    if min(bottom - top, right - left) < CELL_PX:
        return None
    y, x = image.shape[0] / size[0], image.shape[1] / size[1]
    part = image[round(top * y) : round(bottom * y), round(left * x) : round(right * x)]
    return cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
