"""Whose face a clip is about: crops of each tracked person, the choice at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from keras_emo.features.face import Person
from keras_emo.features.tracking import MAX_TRACKS, TrackedFace
from keras_emo.media.recording import Frame
from keras_emo.spec import FaceSpec


class SubjectFinder:
    """Keeps the crops of everybody in a clip until the subject is chosen.

    At most MAX_TRACKS people are kept, those who cover most. A frame in which nobody was found
    counts as missed for whoever comes next as well, see Person.
    """

    def __init__(self, spec: FaceSpec):
        self.spec = spec
        self.n_examined = 0
        self.has_several = False  # faces in one frame
        self._people: dict[int, Person] = {}
        self._empty: deque[Frame] = deque()  # the latest frames, nobody in them

    def add(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Add the next frame and the faces that FaceTracker found in it."""
        self.n_examined += 1
        found = {f.id: f.box for f in faces if f.found}
        self.has_several |= len(found) > 1
        for number in sorted(found.keys() - self._people.keys()):
            self._people[number] = Person(self.spec, number)
            for earlier in self._empty:
                self._people[number].add(earlier, None)
        for number, person in self._people.items():
            person.add(frame, found.get(number))
        if found:
            self._empty.clear()
        else:
            self._empty.append(frame)
            while frame.time_s - self._empty[0].time_s > self.spec.max_gap_s:
                self._empty.popleft()
        while len(self._people) > MAX_TRACKS:
            people = self._people.values()
            least = min(people, key=lambda p: (p.last_s == frame.time_s, p.area_px))
            del self._people[least.id]

    def choose(self) -> Person | None:
        """The subject, by spec.speaker, once no further frame comes; None: nobody."""
        people = list(self._people.values())
        if not people:
            return None
        if self.spec.speaker == "central":
            often = max(p.n_found for p in people)
            people = [p for p in people if 2 * p.n_found >= often]
            subject = min(people, key=lambda p: p.off_center / p.n_found)
        else:
            subject = max(people, key=lambda p: p.area_px)
        subject.finish()
        return subject
