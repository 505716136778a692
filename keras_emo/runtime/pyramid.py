"""The sizes at which P-Net sees a picture: a window of 12 px meets small and large faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def normalise(pixels: np.ndarray) -> np.ndarray:
    """What the networks take: uint8 0..255 as float32 in -1..1."""
    image = pixels.astype(np.float32)  # exact, and twice as fast as a table
    image -= 127.5
    image *= 1 / 128
    return image


@dataclass(frozen=True)
class _Cut:
    """A part of a level of the pyramid: its pixels there, and where they are cut from.

    rows, columns: first and end pixel of the level. halvings: how often the picture was halved
    that it is made of; top, bottom, left, right: in pixels of that.
    """

    scale: float
    rows: tuple[int, int]
    columns: tuple[int, int]
    halvings: int
    top: int
    bottom: int
    left: int
    right: int


def levels_near(
    picture: np.ndarray, scales: list[float], boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, float, int, int]]:
    """The parts of a pyramid that show faces about as large as, and near, square boxes.

    picture: uint8 (height, width, 3); only what is looked at is normalised. boxes: (n, 4) x1, y1,
    x2, y2 in its pixels. Yields normalised parts of levels of at least one window, their scale
    and the left and top pixel of the level where they start; cells lie as on the whole level.
    """
    height, width = picture.shape[:2]
    for box in boxes:
        cuts = [cut for scale in scales if (cut := _find_cut(box, scale, height, width))]
        if not cuts:
            continue
        step = 2 ** max(cut.halvings for cut in cuts)
        # from multiples of step on, so that halving meets the pixels it would meet in the whole
        top, bottom = _span([(c.top, c.bottom, c.halvings) for c in cuts], step, height)
        left, right = _span([(c.left, c.right, c.halvings) for c in cuts], step, width)
        halved = [normalise(picture[top:bottom, left:right])]
        for cut in cuts:
            while len(halved) <= cut.halvings:
                half = (max(1, halved[-1].shape[1] // 2), max(1, halved[-1].shape[0] // 2))
                halved.append(cv2.resize(halved[-1], half, interpolation=cv2.INTER_AREA))
            first_row, first_column = top >> cut.halvings, left >> cut.halvings
            part = halved[cut.halvings][
                cut.top - first_row : cut.bottom - first_row,
                cut.left - first_column : cut.right - first_column,
            ]
            size = (cut.columns[1] - cut.columns[0], cut.rows[1] - cut.rows[0])
            level = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            yield level, cut.scale, cut.columns[0], cut.rows[0]


def _find_cut(box: np.ndarray, scale: float, height: int, width: int) -> _Cut | None:
    """What a level shows near a box; None where faces are of another size there, or none fits."""
    x1, y1, x2, y2 = box
    side, window = max(x2 - x1, 1.0), CELL_PX / scale
    if not _WINDOWS[0] <= window / side <= _WINDOWS[1]:
        return None
    reach = max(side * _REGION, window) / 2
    columns = _find_cells((x1 + x2) / 2, reach, scale, width)
    rows = _find_cells((y1 + y2) / 2, reach, scale, height)
    if min(rows[1] - rows[0], columns[1] - columns[0]) < CELL_PX:
        return None
    halvings = max(0, int(np.log2(max(1.0, 1 / (scale * _FINER)))))
    down = max(1, height >> halvings) / int(height * scale)
    along = max(1, width >> halvings) / int(width * scale)
    return _Cut(
        scale, rows, columns, halvings, round(rows[0] * down), round(rows[1] * down),
        round(columns[0] * along), round(columns[1] * along),
    )  # fmt: skip


def _find_cells(centre: float, reach: float, scale: float, length: int) -> tuple[int, int]:
    """First and end pixel of a level around a place of the picture; P-Net's grid is even."""
    first = int(max(0.0, centre - reach) * scale) // STRIDE_PX * STRIDE_PX
    return first, min(int(length * scale), int(np.ceil((centre + reach) * scale)))


def _span(parts: list[tuple[int, int, int]], step: int, length: int) -> tuple[int, int]:
    """First and end pixel of the picture that hold parts (first, end, halvings).

    Multiples of step; the whole length where that is none, as its halves then lie between pixels.
    """
    if length % step:
        return 0, length
    first = min(start << halvings for start, _, halvings in parts) // step * step
    end = max(end << halvings for _, end, halvings in parts)
    return first, min(length, -(-end // step) * step)
