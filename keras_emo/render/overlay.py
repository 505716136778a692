"""What is drawn on the pictures of an annotated video."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import cv2
import numpy as np

from keras_emo.features.face import Box
from keras_emo.inference.predict import TrackedWindow
from keras_emo.inference.results import Segment
from keras_emo.labels import EMOTIONS
from keras_emo.render.plot import COLOURS, INK, write_text

_HELD_S = 0.75  # a face is drawn this long before and after it was looked at


class FaceTrail:
    """Where the face was, frame by frame, as the windows said that speak for each time."""

    def __init__(self, window_s: float, hop_s: float):
        self._from_s = (window_s - hop_s) / 2  # from a window's start to what it speaks for
        self._rows = array("d")  # time_s and box of each sampled frame
        self._first = True

    def add(self, answer: TrackedWindow) -> None:
        """Take the next window: from its middle on it knows better than those before."""
        from_s = -np.inf if self._first else answer.start_s + self._from_s
        self._first = False
        while len(self._rows) and self._rows[-5] >= from_s:
            del self._rows[-5:]
        for time_s, box in zip(answer.times_s.tolist(), answer.boxes.tolist(), strict=True):
            if time_s >= from_s:
                self._rows.extend((time_s, *box))

    def table(self) -> np.ndarray:
        """float64 (n, 5): time in s, x, y, width, height in px of the upright picture."""
        return np.array(self._rows, np.float64).reshape(-1, 5)


class Annotations:
    """What is to be drawn at each time of a recording.

    probs: float (n_windows, 7), NaN where one abstains; edges_s (n_windows + 1,): window i
    speaks for what lies between edges i and i + 1.
    """

    def __init__(
        self,
        probs: np.ndarray,
        edges_s: np.ndarray,
        segments: Sequence[Segment],
        trail: FaceTrail,
    ):
        self.probs, self.edges_s, self.segments = probs, edges_s, list(segments)
        self._starts_s = np.array([s.start_s for s in segments])
        self._faces = trail.table()

    def find_probs(self, time_s: float) -> np.ndarray | None:
        """Seven probabilities, or None where nothing was said."""
        i = int(np.searchsorted(self.edges_s, time_s, "right")) - 1
        row = self.probs[min(max(i, 0), len(self.probs) - 1)]
        return None if np.isnan(row[0]) else row

    def find_label(self, time_s: float) -> str | None:
        """Of the segment."""
        i = int(np.searchsorted(self._starts_s, time_s, "right")) - 1
        return self.segments[max(i, 0)].label if self.segments else None

    def find_box(self, time_s: float) -> Box | None:
        """Between the two nearest looks at the face, or None far from any."""
        times_s = self._faces[:, 0]
        i = int(np.searchsorted(times_s, time_s))
        near = [k for k in (i - 1, i) if 0 <= k < len(times_s)]
        near = [k for k in near if abs(times_s[k] - time_s) <= _HELD_S]
        if not near:
            return None
        weights = [1.0]
        if len(near) == 2:
            before, after = times_s[near]
            share = (time_s - before) / (after - before) if after > before else 0.0
            weights = [1 - share, share]
        x, y, width, height = (np.array(weights) @ self._faces[near, 1:]).tolist()
        return x, y, width, height


def draw(rgb: np.ndarray, time_s: float, notes: Annotations) -> None:
    """Draw on an upright picture, RGB uint8 (height, width, 3), in place."""
    probs, label = notes.find_probs(time_s), notes.find_label(time_s)
    scale = min(max(rgb.shape[0] / 720, 0.4), 2.5)
    line_px = max(1, round(2 * scale))
    said = "no answer"
    if probs is not None and label is not None:
        said = f"{label} {probs[EMOTIONS.index(label)]:.2f}"
    colour = COLOURS.get(label or "", (255, 255, 255))
    box = notes.find_box(time_s)
    at = round(12 * scale), round(36 * scale)
    if box is not None:
        x, y, width, height = (round(v) for v in box)
        cv2.rectangle(rgb, (x, y), (x + width, y + height), INK, line_px + 2)
        cv2.rectangle(rgb, (x, y), (x + width, y + height), colour, line_px)
        at = max(x, 4), max(y - round(10 * scale), round(28 * scale))
    write_text(rgb, said, at, scale, INK, line_px + 3)
    write_text(rgb, said, at, scale, colour, line_px)
    if probs is not None:
        _draw_bars(rgb, probs, scale)


def _draw_bars(rgb: np.ndarray, probs: np.ndarray, scale: float) -> None:
    row, name_px, bar_px = round(26 * scale), round(120 * scale), round(150 * scale)
    top = max(0, rgb.shape[0] - row * len(EMOTIONS) - round(10 * scale))
    part = rgb[top:, : name_px + bar_px + round(20 * scale)]
    part //= 3  # darkened, so that the writing is seen on any picture
    for i, (name, prob) in enumerate(zip(EMOTIONS, probs.tolist(), strict=True)):
        y, left = top + row * i + round(5 * scale), name_px
        write_text(rgb, name, (round(8 * scale), y + round(16 * scale)), 0.6 * scale, (255,) * 3)
        end = left + max(1, round(bar_px * prob))
        cv2.rectangle(rgb, (left, y), (end, y + round(18 * scale)), COLOURS[name], cv2.FILLED)
