"""Whose face a clip is about: crops of each tracked person, the choice at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_emo.features.face import Box, FaceTrack
from keras_emo.features.tracking import MAX_TRACKS, TrackedFace
from keras_emo.spec import FaceSpec


@dataclass
class Person:
    """One tracked face over a clip: what is cut out of it, and how prominent it is."""

    track: FaceTrack
    id: int
    n_found: int = 0
    area_px: float = 0.0  # summed over the frames it was found in
    off_middle: float = 0.0  # summed ways from the picture's middle, over the picture's diagonal
    last_s: float = field(default=-np.inf)

    def add(self, frame: np.ndarray, time_s: float, box: Box) -> None:
        height, width = frame.shape[:2]
        x, y = box[0] + box[2] / 2 - width / 2, box[1] + box[3] / 2 - height / 2
        self.track.add(frame, time_s, box)
        self.n_found += 1
        self.area_px += box[2] * box[3]
        self.off_middle += float(np.hypot(x, y) / np.hypot(width, height))
        self.last_s = time_s


class SubjectFinder:
    """Keeps the crops of everybody in a clip until it is known who speaks.

    At most MAX_TRACKS people are kept, those who cover most. A frame in which nobody was found
    counts as missed for whoever comes next as well, see FaceTrack.
    """

    def __init__(self, spec: FaceSpec):
        self.spec = spec
        self.n_examined = 0
        self.several = False  # faces in one frame
        self.chosen_id: int | None = None
        self._people: dict[int, Person] = {}
        self._empty: deque[tuple[np.ndarray, float]] = deque()  # the latest frames, nobody in them

    def add(self, frame: np.ndarray, time_s: float, faces: Sequence[TrackedFace]) -> None:
        """Take the next frame, RGB uint8 (height, width, 3), and FaceTracker's answer to it."""
        self.n_examined += 1
        found = {f.id: f.box for f in faces if f.found}
        self.several |= len(found) > 1
        for number in sorted(found.keys() - self._people.keys()):
            self._people[number] = Person(FaceTrack(self.spec), number)
            for earlier, earlier_s in self._empty:
                self._people[number].track.add(earlier, earlier_s, None)
        for number, person in self._people.items():
            if number in found:
                person.add(frame, time_s, found[number])
            else:
                person.track.add(frame, time_s, None)
        if found:
            self._empty.clear()
        else:
            self._empty.append((frame, time_s))
            while time_s - self._empty[0][1] > self.spec.max_gap_s:
                self._empty.popleft()
        while len(self._people) > MAX_TRACKS:
            people = self._people.values()
            least = min(people, key=lambda p: (p.last_s == time_s, p.area_px))
            del self._people[least.id]

    def choose(self) -> FaceTrack | None:
        """The speaker's crops, by spec.speaker, once no further frame comes; None: nobody."""
        people = list(self._people.values())
        if not people:
            return None
        if self.spec.speaker == "central":
            often = max(p.n_found for p in people)
            people = [p for p in people if 2 * p.n_found >= often]
            speaker = min(people, key=lambda p: p.off_middle / p.n_found)
        else:
            speaker = max(people, key=lambda p: p.area_px)
        self.chosen_id = speaker.id
        speaker.track.finish()
        return speaker.track
