"""Few faces of a recording of any length, as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_emo.inference.predict import WindowPrediction

MAX_FACES = 8


@dataclass(frozen=True)
class Thumbnail:
    """A face as the network saw it. crop: RGB uint8 (size, size, 3)."""

    label: str | None
    face_id: int | None
    time_s: float
    crop: np.ndarray


class FaceSheet:
    """Keeps few faces of a recording of any length, spread evenly over it."""

    def __init__(self, n: int = MAX_FACES):
        self.n, self._every, self._seen = n, 1, 0
        self._kept: list[Thumbnail] = []

    def add(self, answer: WindowPrediction) -> None:
        """Take the next window that shows a face."""
        if answer.crop is None:
            return
        if self._seen % self._every == 0:
            self._kept.append(Thumbnail(answer.label, answer.face_id, *answer.crop))
        self._seen += 1
        if len(self._kept) > 4 * self.n:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def pick(self) -> list[Thumbnail]:
        """At most n of them, in order."""
        index = np.linspace(0, len(self._kept) - 1, min(self.n, len(self._kept)))
        return [self._kept[i] for i in index.round().astype(int)]
