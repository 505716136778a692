"""How many requests are inside at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from keras_emo.serve.refusals import Refusal, Refused
from keras_emo.serve.settings import Settings

_FIRST_GUESS_S = 0.5  # of a request, until one was seen
_SHARE = 0.1  # of the newest request in the running mean


class Admission:
    """Counts requests inside; the one too many is told when to come again."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._mean_s = _FIRST_GUESS_S
        self.n_inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside for as long as the block lasts. Raises Refusal (overloaded)."""
        if self.n_inside >= self._settings.max_inside:
            cause = f"{self.n_inside} requests are being answered or wait"
            raise Refusal(Refused.OVERLOADED, cause, self.guess_s())
        self.n_inside += 1
        try:
            yield
        finally:
            self.n_inside -= 1

    def learn(self, spent_s: float) -> None:
        """A decoder was busy for so long with one request."""
        self._mean_s += _SHARE * (spent_s - self._mean_s)

    def guess_s(self) -> int:
        """Whole seconds until half of what is inside will be done, at least one."""
        half_s = self._mean_s * self.n_inside / self._settings.workers / 2
        return max(1, min(math.ceil(half_s), math.ceil(self._settings.timeout_s)))
