"""Which pictures of a stream are kept: the first at or after each of regular times."""

from __future__ import annotations

from dataclasses import dataclass

_MARGIN_S = 1e-6  # a packet's time may be rounded otherwise than its picture's


@dataclass
class SampleGrid:
    """Regular times from the first picture on, rate_hz of them a second.

    step_s: between two pictures of the stream; half of it is tolerated, so that 3 a second takes
    every tenth picture at 30 fps. Pictures come in order of presentation.
    """

    rate_hz: float
    step_s: float
    next_index: int = 0

    def is_due(self, start_s: float) -> bool:
        """Whether a picture is kept; start_s: its time from the first one."""
        return start_s + self.step_s / 2 >= self.next_index / self.rate_hz

    def is_past(self, start_s: float) -> bool:
        """Whether a picture is surely not kept, whatever comes before it."""
        return start_s + self.step_s / 2 + _MARGIN_S < self.next_index / self.rate_hz

    def take(self, start_s: float) -> None:
        """A picture is kept; the next one is due later."""
        reached = int((start_s + self.step_s / 2) * self.rate_hz)
        self.next_index = max(self.next_index, reached) + 1
