"""The sizes at which P-Net scans a picture: its window of 12 px fits small and large faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Side:
    """One axis of a part of a level: its first and end pixel there, and in what it is cut from."""

    first: int
    end: int
    source_first: int
    source_end: int

    @property
    def length(self) -> int:
        return self.end - self.first

    def in_part(self, start: int) -> slice:
        """Of the source from start on."""
        return slice(self.source_first - start, self.source_end - start)


@dataclass(frozen=True)
class _Cut:
    """A part of a level of the pyramid, made from the picture after so many halvings."""

    scale: float
    halvings: int
    rows: _Side
    columns: _Side


def levels_near(
    picture: np.ndarray, scales: list[float], boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, float, int, int]]:
    """The parts of a pyramid that show faces about as large as, and near, square boxes.

    picture: uint8 (height, width, 3); only what is scanned is normalized. boxes: (n, 4) x1, y1,
    x2, y2 in its pixels. Yields normalized parts of levels of at least one window, their scale
    and the left and top pixel of the level where they start; cells lie as on the whole level.
    """
    height, width = picture.shape[:2]
    for box in boxes:
        cuts = [cut for scale in scales if (cut := _find_cut(box, scale, height, width))]
        if not cuts:
            continue
        step = 2 ** max(cut.halvings for cut in cuts)
        # from multiples of step on, so that halving meets the pixels it would meet in the whole
        top, bottom = _span([(c.rows, c.halvings) for c in cuts], step, height)
        left, right = _span([(c.columns, c.halvings) for c in cuts], step, width)
        halved = [normalize(picture[top:bottom, left:right])]
        for cut in cuts:
            while len(halved) <= cut.halvings:
                half = (max(1, halved[-1].shape[1] // 2), max(1, halved[-1].shape[0] // 2))
                halved.append(cv2.resize(halved[-1], half, interpolation=cv2.INTER_AREA))
            rows, columns = cut.rows, cut.columns
            part = halved[cut.halvings][
                rows.in_part(top >> cut.halvings), columns.in_part(left >> cut.halvings)
            ]
            size = (columns.length, rows.length)
            level = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            yield level, cut.scale, columns.first, rows.first


def _find_cut(box: np.ndarray, scale: float, height: int, width: int) -> _Cut | None:
    """What a level shows near a box; None where faces are of another size there, or none fits."""
    x1, y1, x2, y2 = box
    side, window = max(x2 - x1, 1.0), CELL_PX / scale
    if not _WINDOWS[0] <= window / side <= _WINDOWS[1]:
        return None
    reach = max(side * _REGION, window) / 2
    halvings = max(0, int(np.log2(max(1.0, 1 / (scale * _FINER)))))
    columns = _find_side((x1 + x2) / 2, reach, scale, halvings, width)
    rows = _find_side((y1 + y2) / 2, reach, scale, halvings, height)
    if min(rows.length, columns.length) < CELL_PX:
        return None
    return _Cut(scale, halvings, rows, columns)


def _find_side(center: float, reach: float, scale: float, halvings: int, length: int) -> _Side:
    """What of a level lies around a place of the picture; P-Net's grid is even."""
    first = int(max(0.0, center - reach) * scale) // STRIDE_PX * STRIDE_PX
    end = min(int(length * scale), int(np.ceil((center + reach) * scale)))
    finer = max(1, length >> halvings) / int(length * scale)
    return _Side(first, end, round(first * finer), round(end * finer))


def _span(sides: list[tuple[_Side, int]], step: int, length: int) -> tuple[int, int]:
    """First and end pixel of the picture that hold sides, each after so many halvings.

    Multiples of step; the whole length where that is none, as its halves then lie between pixels.
    """
    if length % step:
        return 0, length
    first = min(side.source_first << halvings for side, halvings in sides) // step * step
    end = max(side.source_end << halvings for side, halvings in sides)
    return first, min(length, -(-end // step) * step)
