"""What a recording holds: its streams, its sampled frames, and how long it claims to be."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# FFmpeg guesses the length of these from their bit rate: nothing to hold a file to.
UNSURE_OF_LENGTH = ("mp3", "ogg")
_MARGIN_S = 1e-6  # a packet's time may be rounded otherwise than its frame's


@dataclass(frozen=True)
class Frame:
    """One frame of a video, upright.

    rgb: uint8 (height, width, 3). time_s: from the first frame of the stream. scale: px of the
    file's picture, across and down, that one px of rgb stands for.
    """

    rgb: np.ndarray
    time_s: float
    scale: tuple[float, float] = (1.0, 1.0)


OnFrame = Callable[[Frame], None]
# mono float32 (n,), its rate in Hz, its time in s from the start of the sound
OnAudio = Callable[[np.ndarray, int, float], None]


@dataclass(frozen=True)
class Streams:
    """Which of the requested streams can be decoded.

    undecodable: those that are there but have no decoder here, of "video" and "audio".
    """

    has_video: bool = False
    has_audio: bool = False
    undecodable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """What was read of a recording.

    frames: the sampled ones, unless they were passed to a callback. waveform: mono float32 in
    [-1, 1] at sample_rate_hz, None without sound. duration_s: of the longer stream as far as it
    was read; declared_s: of the file as it claims, 0 if it does not. damaged_packets: skipped
    packets, and frames that the decoder had to guess. missing_s: what the file declares within
    the part to read, but does not hold. cut: frames beyond the limit were left out.
    """

    frames: tuple[Frame, ...] = ()
    waveform: np.ndarray | None = None
    sample_rate_hz: int = 0
    streams: Streams = Streams()
    duration_s: float = 0.0
    declared_s: float = 0.0
    damaged_packets: int = 0
    missing_s: float = 0.0
    cut: bool = False


@dataclass
class SampleGrid:
    """Regular times from the first frame on, rate_hz of them a second.

    The frame kept for a time is the first at or after it. step_s: between two frames of the
    stream; half of it is tolerated, so that 3 a second keeps every tenth frame at 30 fps. Frames
    come in order of presentation.
    """

    rate_hz: float
    step_s: float
    next_index: int = 0

    def is_due(self, start_s: float) -> bool:
        """Whether a frame is kept; start_s: its time from the first one."""
        return start_s + self.step_s / 2 >= self.next_index / self.rate_hz

    def is_past(self, start_s: float) -> bool:
        """Whether a frame is surely not kept, regardless of those before it."""
        return start_s + self.step_s / 2 + _MARGIN_S < self.next_index / self.rate_hz

    def keep(self, start_s: float) -> None:
        """Note that a frame is kept; the next one is due later."""
        reached = int((start_s + self.step_s / 2) * self.rate_hz)
        self.next_index = max(self.next_index, reached) + 1


def read_lengths(
    path: Path, container: Any, streams: Sequence[Any], ends_s: dict[str, float]
) -> dict[str, float | None]:
    """Declared length in s of each kind of stream, None where a file declares none.

    ends_s: how far each stream was read; a length of the whole file is the longest one's.
    """
    if container.format.name in UNSURE_OF_LENGTH:
        return {}
    declared = {s.type: read_length(s) for s in streams}
    if container.format.name == "wav":
        declared["audio"] = _read_wav_length(path)
    if None in declared.values() and len(streams) == len(container.streams):
        longest = max(declared, key=lambda kind: ends_s.get(kind, 0.0))
        declared[longest] = declared[longest] or (container.duration or 0) / 1e6
    return declared


def read_length(stream: Any) -> float | None:
    """Declared length in s of one stream."""
    return float(stream.duration * stream.time_base) if stream.duration else None


def _read_wav_length(path: Path) -> float | None:
    """By the header, where FFmpeg reports no more than the file holds; None where it is unset."""
    try:
        with wave.open(str(path)) as f:
            n_bytes = f.getnframes() * f.getnchannels() * f.getsampwidth()
            streamed = n_bytes == 0 or n_bytes >= 0xFFFFFF00  # written before the end was known
            return None if streamed else f.getnframes() / f.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError):
        return None
