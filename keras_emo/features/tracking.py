"""Faces tracked from frame to frame: full detection now and then, a search nearby between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keras_emo.features.face import Box, DetectedFace
from keras_emo.spec import FaceSpec

MAX_TRACKS = 8  # smaller faces beyond them are ignored
_MIN_IOU = 0.3
_MAX_STEP = 1.2  # of the longer side: how far a face may go where boxes do not overlap
_MAX_GROWTH = 2.0
_REMEMBERED_S = 5.0  # a face back at its place by then is the same person


class Detector(Protocol):
    """Anything that finds faces in an RGB uint8 frame (height, width, 3).

    It may also have ``refine(rgb, boxes)``, which finds them near boxes of a frame before;
    without it every frame is given to detect. And ``warm_up()``, called before the first frame
    where the first prediction must not wait.
    """

    def detect(self, rgb: np.ndarray) -> Sequence[DetectedFace]: ...


Refine = Callable[[np.ndarray, Sequence[Box]], Sequence[DetectedFace]]


@dataclass(frozen=True)
class TrackedFace:
    """One person's face in a frame.

    id: of the person, from 0. box: where it was last found. found: in this frame.
    """

    id: int
    box: Box
    found: bool


@dataclass
class _Track:
    id: int
    box: Box
    found_s: float  # when it was last found
    speed: tuple[float, float] = (0.0, 0.0)  # px a second

    def move(self, face: DetectedFace, time_s: float) -> None:
        passed_s = time_s - self.found_s
        (x, y), (old_x, old_y) = _center(face.box), _center(self.box)
        self.speed = ((x - old_x) / passed_s, (y - old_y) / passed_s) if passed_s > 0 else (0, 0)
        self.box, self.found_s = face.box, time_s

    def predict(self, time_s: float) -> Box:
        """Where it is if it moves on as before."""
        passed_s = time_s - self.found_s
        x, y, width, height = self.box
        return x + self.speed[0] * passed_s, y + self.speed[1] * passed_s, width, height


class FaceTracker:
    """Gives every face in a row of frames an id, in constant memory.

    All of a frame is searched first, every spec.detect_every frames, while a face is missing
    for no longer than spec.max_gap_s, and while there is none; other frames are searched near
    the faces of the frame before. A person is recognized by place and size alone: one who is
    away for long, or comes back elsewhere, has a new id.
    """

    def __init__(self, spec: FaceSpec, detector: Detector):
        self.spec, self.detector = spec, detector
        self._refine: Refine | None = getattr(detector, "refine", None)
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._since_full = spec.detect_every  # frames
        self._last_s = -np.inf  # time of the frame before

    def update(self, frame: np.ndarray, time_s: float) -> list[TrackedFace]:
        """The faces of the next frame, RGB uint8 (height, width, 3), by id.

        A face that is missing for at most spec.max_gap_s is among them, as not found. Raises
        ValueError where time does not advance.
        """
        if time_s <= self._last_s:
            raise ValueError(f"a frame at {time_s} s after one at {self._last_s} s")
        memory_s = max(_REMEMBERED_S, self.spec.max_gap_s)
        self._tracks = [t for t in self._tracks if time_s - t.found_s <= memory_s]
        self._since_full += 1
        recent_s = min(self._last_s, time_s - self.spec.max_gap_s)
        if not self._find_nearby(frame, time_s, recent_s):
            self._since_full = 0
            faces = self._sure(self.detector.detect(frame))
            pairs = _pair(self._tracks, faces, time_s, recent_s)
            for track, face in pairs:
                track.move(face, time_s)
            paired = {id(face) for _, face in pairs}
            self._start([f for f in faces if id(f) not in paired], time_s)
        self._last_s = time_s
        return [
            TrackedFace(t.id, t.box, t.found_s == time_s)
            for t in self._tracks
            if t.found_s >= recent_s
        ]

    def _find_nearby(self, frame: np.ndarray, time_s: float, recent_s: float) -> bool:
        """Whether every face was found again without searching the whole frame."""
        recent = [t for t in self._tracks if t.found_s >= recent_s]
        if self._refine is None or not recent or self._since_full >= self.spec.detect_every:
            return False
        if any(t.found_s < self._last_s for t in recent):
            return False
        faces = self._sure(self._refine(frame, [t.box for t in recent]))
        pairs = _pair(recent, faces, time_s, recent_s)
        if len(pairs) < len(recent):
            return False
        for track, face in pairs:
            track.move(face, time_s)
        return True

    def _sure(self, faces: Sequence[DetectedFace]) -> list[DetectedFace]:
        return [f for f in faces if f.confidence >= self.spec.min_confidence]

    def _start(self, faces: list[DetectedFace], time_s: float) -> None:
        for face in sorted(faces, key=lambda f: f.box[2] * f.box[3], reverse=True):
            if len(self._tracks) == MAX_TRACKS:
                oldest = min(self._tracks, key=lambda t: t.found_s)
                if oldest.found_s == time_s:
                    return
                self._tracks.remove(oldest)
            self._tracks.append(_Track(self._next_id, face.box, time_s))
            self._next_id += 1


def _pair(
    tracks: list[_Track], faces: list[DetectedFace], time_s: float, recent_s: float
) -> list[tuple[_Track, DetectedFace]]:
    """Tracks and their faces: greedily by overlap, then the nearest of those left.

    A track found since recent_s is expected where it was going, an older one where it was.
    """
    rated = []
    for i, track in enumerate(tracks):
        recent = track.found_s >= recent_s
        expected = track.predict(time_s) if recent else track.box
        for j, face in enumerate(faces):
            overlap = measure_iou(expected, face.box)
            if overlap >= _MIN_IOU:
                rated.append((0, -overlap, i, j))
            elif recent and (far := _measure_step(track.box, face.box)) <= _MAX_STEP:
                rated.append((1, far, i, j))
    pairs: dict[int, int] = {}
    for _, _, i, j in sorted(rated):
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(tracks[i], faces[j]) for i, j in pairs.items()]


def measure_iou(a: Box, b: Box) -> float:
    """Shared over united area of two boxes; 0..1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    whole = a[2] * a[3] + b[2] * b[3] - shared
    return shared / whole if whole > 0 else 0.0


def _center(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _measure_step(a: Box, b: Box) -> float:
    """Distance of centers over the longer side; infinite for faces of very different size."""
    sides = max(a[2:]), max(b[2:])
    if max(sides) > _MAX_GROWTH * min(sides):
        return float("inf")
    (ax, ay), (bx, by) = _center(a), _center(b)
    return float(np.hypot(ax - bx, ay - by)) / max(sides)
