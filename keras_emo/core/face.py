"""Frame and box to face crop; a box for frames where none was found."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from keras_emo.core.spec import FaceSpec

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the frame


def crop_face(frame: np.ndarray, box: Box, spec: FaceSpec) -> np.ndarray:
    """Square crop around a face.

    frame: RGB uint8 (height, width, 3). The square has the box's centre and its longer side,
    widened by spec.margin on each side; what lies outside the frame repeats its edge.
    Returns RGB uint8 (size_px, size_px, 3). Raises ValueError for a box without area.
    """
    x, y, width, height = box
    if not np.isfinite(box).all() or width <= 0 or height <= 0:
        raise ValueError(f"a face box without area: {box}")
    side_px = max(1, round(max(width, height) * (1 + 2 * spec.margin)))
    left = round(x + width / 2 - side_px / 2)
    top = round(y + height / 2 - side_px / 2)
    rows, columns = frame.shape[:2]
    inside = frame[
        min(max(top, 0), rows - 1) : max(min(top + side_px, rows), 1),
        min(max(left, 0), columns - 1) : max(min(left + side_px, columns), 1),
    ]
    missing = (
        max(-top, 0),
        max(top + side_px - rows, 0),
        max(-left, 0),
        max(left + side_px - columns, 0),
    )
    if any(missing):
        inside = cv2.copyMakeBorder(inside, *missing, cv2.BORDER_REPLICATE)
    shrinking = side_px > spec.size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(inside, (spec.size_px, spec.size_px), interpolation=interpolation)


def fill_boxes(boxes: Sequence[Box | None], times_s: Sequence[float]) -> list[Box] | None:
    """Give frames without a box the one nearest in time; None where no frame has any."""
    found = [i for i, box in enumerate(boxes) if box is not None]
    if not found:
        return None
    nearest = [min(found, key=lambda j: abs(times_s[j] - t)) for t in times_s]
    return [boxes[j] for j in nearest]  # type: ignore[misc]
