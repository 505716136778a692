"""Frames and boxes to face crops, with a neighbor's box where no face was found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from keras_emo.media.recording import Frame
from keras_emo.spec import FaceSpec

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the frame


def crop_face(frame: np.ndarray, box: Box, spec: FaceSpec) -> np.ndarray:
    """Square crop around a face.

    frame: RGB uint8 (height, width, 3). The square has the box's center and its longer side,
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
    above, below = max(-top, 0), max(top + side_px - rows, 0)
    before, after = max(-left, 0), max(left + side_px - columns, 0)
    if above or below or before or after:
        border = cv2.BORDER_REPLICATE
        inside = cv2.copyMakeBorder(inside, above, below, before, after, border)
    for _ in range(halvings):
        side_px //= 2
        inside = cv2.resize(inside, (side_px, side_px), interpolation=cv2.INTER_AREA)
    shrinking = side_px > spec.size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(inside, (spec.size_px, spec.size_px), interpolation=interpolation)


@dataclass(frozen=True)
class DetectedFace:
    """A face that a detector found in a frame.

    box: x, y, width, height in px of the frame. confidence: 0..1.
    """

    box: Box
    confidence: float = 1.0


class Person:
    """One person's face over a clip, frame by frame: its crops, and how prominent it is.

    A frame without a face is cropped by the box of the neighbor nearest in time, the earlier
    of two as near, and left out where none is within spec.max_gap_s. Only such frames are
    held, and only while a later neighbor may come.
    """

    def __init__(self, spec: FaceSpec, number: int = 0):
        self.spec, self.id, self.n_found, self.last_s = spec, number, 0, -np.inf
        self.area_px = 0.0  # summed over the frames it was found in
        self.off_center = 0.0  # summed distances from the picture's center, over its diagonal
        self.crops: list[np.ndarray] = []  # RGB uint8 (size_px, size_px, 3)
        self.boxes: list[Box] = []  # in px of the file's picture
        self.times_s: list[float] = []
        self.found: list[bool] = []  # False where the box is a neighbor's
        self._waiting: deque[Frame] = deque()
        self._last: Box | None = None  # where it was found at last_s

    def add(self, frame: Frame, box: Box | None) -> None:
        """Add the next frame, and its face's box in px of frame.rgb if it has one."""
        if box is None:
            self._waiting.append(frame)
            while frame.time_s - self._waiting[0].time_s > self.spec.max_gap_s:
                self._fill_gap(None)
            return
        while self._waiting:
            self._fill_gap((frame.time_s, box))
        self._keep(frame, box, True)
        self.last_s, self._last = frame.time_s, box
        height, width = frame.rgb.shape[:2]
        x, y = box[0] + box[2] / 2 - width / 2, box[1] + box[3] / 2 - height / 2
        self.n_found += 1
        self.area_px += box[2] * box[3]
        self.off_center += float(np.hypot(x, y) / np.hypot(width, height))

    def finish(self) -> None:
        """No further frame comes."""
        while self._waiting:
            self._fill_gap(None)

    def _fill_gap(self, after: tuple[float, Box] | None) -> None:
        """Crop the frame that waits longest by a neighbor's box, or leave it out."""
        frame = self._waiting.popleft()
        neighbors = (self.last_s, self._last), after or (np.inf, None)
        face_s, box = min(neighbors, key=lambda n: abs(n[0] - frame.time_s))
        if box is not None and abs(face_s - frame.time_s) <= self.spec.max_gap_s:
            self._keep(frame, box, False)

    def _keep(self, frame: Frame, box: Box, found: bool) -> None:
        across, down = frame.scale
        x, y, width, height = box
        self.crops.append(crop_face(frame.rgb, box, self.spec))
        self.boxes.append((x * across, y * down, width * across, height * down))
        self.times_s.append(frame.time_s)
        self.found.append(found)
