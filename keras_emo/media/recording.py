"""What a recording holds: its streams, its sampled frames, and how long it claims to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
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


def convert_frame(picture: Any, time_s: float, max_px: int = 0) -> Frame:
    """The Frame of an av.VideoFrame, upright for any orientation of the phone.

    A longer side over max_px is shrunk to it while converting; 0: none is.
    """
    size = _fit(picture.width, picture.height, max_px)
    if size is not None:
        rgb = picture.to_ndarray(
            format="rgb24", width=size[0], height=size[1], interpolation="AREA", threads=1
        )
    else:
        rgb = picture.to_ndarray(format="rgb24", threads=1)
    across, down = picture.width / rgb.shape[1], picture.height / rgb.shape[0]
    turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
    if turns:
        rgb = np.ascontiguousarray(np.rot90(rgb, turns))
    return Frame(rgb, time_s, (down, across) if turns % 2 else (across, down))


def shrink_frame(rgb: np.ndarray, time_s: float, max_px: int = 0) -> Frame:
    """The Frame of an array, uint8 (height, width, 3); max_px: as in convert_frame."""
    height, width = rgb.shape[:2]
    size = _fit(width, height, max_px)
    if size is None:
        return Frame(rgb, time_s)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return Frame(small, time_s, (width / size[0], height / size[1]))


def _fit(width: int, height: int, max_px: int) -> tuple[int, int] | None:
    """(width, height) shrunk to a longer side of max_px; None where nothing is to be shrunk."""
    factor = max_px / max(width, height)
    if not max_px or factor >= 1:
        return None
    return max(1, round(width * factor)), max(1, round(height * factor))


def read_lengths(
    path: Path, container: Any, streams: Sequence[Any], ends_s: dict[str, float]
) -> dict[str, float | None]:
    """Declared length in s of each kind of stream, None where a file declares none.

    ends_s: how far each stream was read; a length of the whole file is the longest one's.
    """
    if container.format.name in UNSURE_OF_LENGTH:
        return {}
    declared = {s.type: read_length(s) for s in streams}
    if container.format.name == "wav" and streams:
        declared["audio"] = _read_wav_length(path, streams[0])
    if None in declared.values() and len(streams) == len(container.streams):
        longest = max(declared, key=lambda kind: ends_s.get(kind, 0.0))
        declared[longest] = declared[longest] or (container.duration or 0) / 1e6
    return declared


def read_length(stream: Any) -> float | None:
    """Declared length in s of one stream."""
    return float(stream.duration * stream.time_base) if stream.duration else None


def _read_wav_length(path: Path, sound: Any) -> float | None:
    """By the header, where FFmpeg reports no more than the file holds; None where it is unset."""
    bits_per_s = sound.codec_context.bit_rate
    if not bits_per_s or not sound.codec_context.name.startswith("pcm_"):
        return None
    with open(path, "rb") as f:
        head = f.read(12)[:4] + f.read(8)
        while len(head) == 12 and head[:4] == b"RIFF":
            n_bytes = int.from_bytes(head[8:], "little")
            if head[4:8] == b"data":
                streamed = n_bytes == 0 or n_bytes >= 0xFFFFFF00  # written before it was known
                return None if streamed else n_bytes * 8 / bits_per_s
            f.seek(n_bytes + n_bytes % 2, 1)
            head = head[:4] + f.read(8)
    return None
