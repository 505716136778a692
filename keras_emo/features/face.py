"""Frames and boxes to face crops, with a neighbour's box where no face was found."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from keras_emo.spec import FaceSpec

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the frame


def crop_face(frame: np.ndarray, box: Box, spec: FaceSpec) -> np.ndarray:
    """Square crop around a face.

    frame: RGB uint8 (height, width, 3). The square has the box's centre and its longer side,
    widened by spec.margin on each side, or narrowed where that is below 0; what lies outside the
    frame repeats its edge. A square of four times size_px and more has an even side and is halved
    first, once or more, which takes less than half as long.
    Returns RGB uint8 (size_px, size_px, 3). Raises ValueError for a box without area.
    """
    x, y, width, height = box
    if not np.isfinite(box).all() or width <= 0 or height <= 0:
        raise ValueError(f"a face box without area: {box}")
    side_px = max(1, round(max(width, height) * (1 + 2 * spec.margin)))
    halvings = max(0, (side_px // (2 * spec.size_px)).bit_length() - 1)
    side_px = round(side_px / 2**halvings) << halvings
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
    for _ in range(halvings):
        side_px //= 2
        inside = cv2.resize(inside, (side_px, side_px), interpolation=cv2.INTER_AREA)
    shrinking = side_px > spec.size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(inside, (spec.size_px, spec.size_px), interpolation=interpolation)


class FaceTrack:
    """Crops of a clip's frames, given one by one in order of time.

    A frame without a face is cropped by the box of the neighbour nearest in time, the earlier
    of two as near, and left out where none is within spec.max_gap_s. Only such frames are
    held, and only while a later neighbour may come.
    """

    def __init__(self, spec: FaceSpec):
        self.spec = spec
        self.crops: list[np.ndarray] = []  # RGB uint8 (size_px, size_px, 3)
        self.boxes: list[Box] = []
        self.times_s: list[float] = []
        self.found: list[bool] = []  # False where the box is a neighbour's
        self._waiting: deque[tuple[np.ndarray, float]] = deque()
        self._last: tuple[float, Box] | None = None  # time and box of the last face

    def add(self, frame: np.ndarray, time_s: float, box: Box | None) -> None:
        """Take the next frame, RGB uint8 (height, width, 3), and its face's box if it has one."""
        if box is None:
            self._waiting.append((frame, time_s))
            while time_s - self._waiting[0][1] > self.spec.max_gap_s:
                self._settle(None)
            return
        while self._waiting:
            self._settle((time_s, box))
        self._keep(frame, time_s, box, True)
        self._last = time_s, box

    def finish(self) -> None:
        """No further frame comes."""
        while self._waiting:
            self._settle(None)

    def _settle(self, after: tuple[float, Box] | None) -> None:
        frame, time_s = self._waiting.popleft()
        near = [neighbour for neighbour in (self._last, after) if neighbour is not None]
        face_s, box = min(near, key=lambda n: abs(n[0] - time_s), default=(np.inf, None))
        if box is not None and abs(face_s - time_s) <= self.spec.max_gap_s:
            self._keep(frame, time_s, box, False)

    def _keep(self, frame: np.ndarray, time_s: float, box: Box, found: bool) -> None:
        self.crops.append(crop_face(frame, box, self.spec))
        self.times_s.append(time_s)
        self.boxes.append(box)
        self.found.append(found)
