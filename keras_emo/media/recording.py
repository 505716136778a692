"""What is decoded of a recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

TakeFrame = Callable[[np.ndarray, float], None]  # RGB uint8 (height, width, 3), time in s
# mono float32 (n,), its rate in Hz, its time in s from the start of the sound
TakeSound = Callable[[np.ndarray, int, float], None]


@dataclass
class Media:
    """What was decoded.

    frames: RGB uint8 arrays (height, width, 3), unless they were handed on one by one.
    times_s: their presentation times, from the first frame of the stream. scales: of each, how
    many px of the file's picture, across and down, one of its px stands for.
    waveform: mono float32 in [-1, 1] at sample_rate_hz, or None where there is no sound.
    duration_s: of the longer stream as far as read. undecodable: kinds of stream, ``video`` or
    ``audio``, that are there but have no decoder here. damaged_packets: skipped ones, and
    pictures the decoder had to guess at, of those it decodes, see core.decoding.Reading.
    missing_s: what the file declares within the part to read, but does not hold. declared_s: the
    length that the file declares, 0 where it does not.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    scales: list[tuple[float, float]] = field(default_factory=list)
    waveform: np.ndarray | None = None
    sample_rate_hz: int = 0
    duration_s: float = 0.0
    damaged_packets: int = 0
    missing_s: float = 0.0
    declared_s: float = 0.0
    has_video: bool = False
    has_audio: bool = False
    undecodable: list[str] = field(default_factory=list)
    cut: bool = False  # frames beyond the limit were left out
