"""Settings outside their range, told by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Finite numbers from low to high, without low itself where above, without high where below."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        begins = self.low < value if self.above else self.low <= value
        ends = value < self.high if self.below or self.high == math.inf else value <= self.high
        return begins and ends

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {_tell(self.low)}"
        start = f"{'above' if self.above else 'from'} {_tell(self.low)}"
        return f"{start} to {'below ' if self.below else ''}{_tell(self.high)}"


def _tell(end: float) -> str:
    """The number; an int of any size, which may be too large for a float's format."""
    return str(end) if isinstance(end, int) else f"{end:g}"


POSITIVE = Range(0, above=True)


def check_ranges(what: str, settings: object, ranges: Mapping[str, Range]) -> None:
    """Raise ValueError for the first of the named settings that lies outside; NaN always does."""
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise ValueError(f"{what} out of range: {name} is {value!r}, it can be {allowed}")
