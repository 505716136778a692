"""The sizes at which P-Net scans a picture: its window of 12 px fits small and large faces."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

CELL_PX = 12  # P-Net's window
STRIDE_PX = 2
_BASE_FACE_PX = 20  # smallest face of the package's pyramid
_SCALE_FACTOR = 0.709
# Near a known box: side of the region over the box's; windows over the box's side, from, to.
_REGION, _WINDOWS = 1.3, (0.5, 1.2)
# Coarse levels are made from a halved picture, this many times finer at least: to shrink
# the full one takes longer than P-Net does.
_FINER = 4.0


def pyramid_scales(height_px: int, width_px: int, min_face_px: float) -> list[float]:
    """Scales at which a 12 px window fits faces of min_face_px and more.

    The end of the mtcnn package's default pyramid, so that boxes agree: it starts at the
    largest window that is no larger than min_face_px.
    """
    scales = []
    scale = CELL_PX / _BASE_FACE_PX
    while int(min(height_px, width_px) * scale) >= CELL_PX:
        if CELL_PX / (scale * _SCALE_FACTOR) > min_face_px:
            scales.append(scale)
        scale *= _SCALE_FACTOR
    return scales


def normalize(pixels: np.ndarray) -> np.ndarray:
    """The input of the networks: uint8 0..255 as float32 in -1..1."""
    image = pixels.astype(np.float32)  # exact, and twice as fast as a table
    image -= 127.5
    image *= 1 / 128
    return image


def levels_near(
    picture: np.ndarray, scales: list[float], boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, float, int, int]]:
    """The regions of a pyramid that show faces about as large as, and near, square boxes.

    picture: uint8 (height, width, 3). boxes: (n, 4) x1, y1, x2, y2 in its pixels. Yields
    normalized regions of levels, float32 (height, width, 3) of at least one window, their scale
    and the left and top pixel of the level where they start; windows lie as on the whole level.
    """
    height, width = picture.shape[:2]
    halved = [normalize(picture)]
    for x1, y1, x2, y2 in boxes:
        side = max(x2 - x1, 1.0)
        for scale in scales:
            window = CELL_PX / scale
            if not _WINDOWS[0] <= window / side <= _WINDOWS[1]:
                continue
            reach = max(side * _REGION, window) / 2
            halvings = max(0, int(np.log2(max(1.0, 1 / (scale * _FINER)))))
            left, n_columns, columns = _find_side((x1 + x2) / 2, reach, scale, halvings, width)
            top, n_rows, rows = _find_side((y1 + y2) / 2, reach, scale, halvings, height)
            if min(n_rows, n_columns) < CELL_PX:
                continue
            while len(halved) <= halvings:
                half = (max(1, halved[-1].shape[1] // 2), max(1, halved[-1].shape[0] // 2))
                halved.append(cv2.resize(halved[-1], half, interpolation=cv2.INTER_AREA))
            source, size = halved[halvings][rows, columns], (n_columns, n_rows)
            yield cv2.resize(source, size, interpolation=cv2.INTER_AREA), scale, left, top


def _find_side(
    center: float, reach: float, scale: float, halvings: int, length: int
) -> tuple[int, int, slice]:
    """Start and length, along one axis, of what a level shows around a place, P-Net's grid is even;
    and the pixels of the halved picture that are shrunk to it.
    """
    first = int(max(0.0, center - reach) * scale) // STRIDE_PX * STRIDE_PX
    end = min(int(length * scale), int(np.ceil((center + reach) * scale)))
    finer = max(1, length >> halvings) / int(length * scale)
    return first, end - first, slice(round(first * finer), round(end * finer))
