"""One pass over the packets of a recording: sampling, limits, and what is missing or damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.core.errors import ClipError, Reason
from keras_emo.core.picture import to_rgb

MAX_PIXELS = 4096 * 2304
MAX_DURATION_S = 4 * 3600.0
SAMPLE_RATES_HZ = (4_000, 384_000)
# FFmpeg guesses the length of these from their bit rate: nothing to hold a file to.
UNSURE_OF_LENGTH = ("mp3", "ogg")
# A stream may end this much before its declared end, encoder delay and the like, and be whole.
TOLERANCE_S, TOLERANCE = 0.2, 0.05

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
    pictures the decoder had to guess at. missing_s: what the file declares within the part to
    read, but does not hold.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    scales: list[tuple[float, float]] = field(default_factory=list)
    waveform: np.ndarray | None = None
    sample_rate_hz: int = 0
    duration_s: float = 0.0
    damaged_packets: int = 0
    missing_s: float = 0.0
    has_video: bool = False
    has_audio: bool = False
    undecodable: list[str] = field(default_factory=list)
    cut: bool = False  # frames beyond the limit were left out


def check_duration(path: Path, duration_s: float) -> None:
    """Raise ClipError beyond MAX_DURATION_S."""
    if duration_s > MAX_DURATION_S:
        cause = f"{duration_s:.0f} s, at most {MAX_DURATION_S:.0f} s"
        raise ClipError(path, Reason.DURATION_LIMIT, cause)


def check_resolution(path: Path, picture) -> None:
    """Raise ClipError beyond MAX_PIXELS; picture: anything with width and height."""
    if picture.width * picture.height > MAX_PIXELS:
        cause = f"{picture.width}x{picture.height}, at most {MAX_PIXELS} pixels"
        raise ClipError(path, Reason.RESOLUTION_LIMIT, cause)


def check_sample_rate(path: Path, stream) -> None:
    """Raise ClipError outside SAMPLE_RATES_HZ."""
    low, high = SAMPLE_RATES_HZ
    if not low <= (stream.sample_rate or 0) <= high:
        cause = f"sample rate {stream.sample_rate} Hz, allowed {low} to {high}"
        raise ClipError(path, Reason.BAD_HEADER, cause)


@dataclass
class Reading:
    """One pass over the packets of the chosen streams, into media and take."""

    path: Path
    media: Media
    video: Any
    audio: Any
    rate_hz: float
    max_frames: int
    audio_s: float
    take: TakeFrame
    max_px: int = 0  # longer side of a picture handed on; 0: any
    hear: TakeSound | None = None  # given the sound as it comes; None keeps it
    next_index: int = 0  # of the sampling grid
    starts_s: dict[str, float] = field(default_factory=dict)  # of each kind of stream
    ends_s: dict[str, float] = field(default_factory=dict)  # from its start
    blocks: list[np.ndarray] = field(default_factory=list)
    n_samples: int = 0
    heard: bool = False  # all the sound asked for
    unstamped: bool = False  # the container has no presentation times

    def run(self, container) -> Iterator[None]:
        """Read to the end, or until all that is kept has come, a packet a step.

        Raises ClipError.
        """
        import av

        media = self.media
        self.unstamped = container.format.name == "avi"
        streams = [s for s in (self.video, self.audio) if s is not None]
        for packet in self._packets(container, streams):
            kind = packet.stream.type
            if self._is_done(packet):
                media.duration_s = max(media.duration_s, (container.duration or 0) / 1e6)
                break
            if media.cut if kind == "video" else self.heard:
                self._note_end(kind, packet)  # nothing more of it is kept: damage is no matter
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                media.damaged_packets += 1
                continue
            for frame in frames:
                media.damaged_packets += bool(frame.is_corrupt)
                if isinstance(frame, av.VideoFrame):
                    self._see(frame)
                else:
                    self._hear(frame)
            yield
        if media.has_video and not media.times_s and not self.n_samples:
            raise ClipError(self.path, Reason.NO_FRAMES, "no picture could be decoded")
        if self.blocks:
            waveform = np.concatenate(self.blocks)
            if np.isfinite(self.audio_s):
                waveform = waveform[: round(self.audio_s * media.sample_rate_hz)]
            media.waveform = waveform
        media.missing_s = self._missing_s(container, streams)

    def _packets(self, container, streams):
        """Packets until the end; a demuxer that stumbles ends the stream, counted as damage."""
        import av

        packets = container.demux(streams)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self.media.damaged_packets += 1
                return

    def _is_done(self, packet) -> bool:
        """Whether all that is kept has been read, or the sound has ended before the picture."""
        if self.video is not None and not self.media.cut:
            return False
        if self.audio is None or self.heard:
            return True
        declared_s = _declared_s(self.audio)
        if declared_s is None or packet.stream.type != "video" or packet.pts is None:
            return False
        past_s = float(packet.pts * packet.time_base) - self.starts_s.get("video", 0.0)
        return past_s > declared_s + 1.0  # streams are interleaved within a second

    def _note_end(self, kind: str, packet) -> None:
        if packet.pts is not None:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._extend(kind, end_s)

    def _extend(self, kind: str, end_s: float) -> None:
        end_s -= self.starts_s.get(kind, 0.0)
        self.ends_s[kind] = max(self.ends_s.get(kind, 0.0), end_s)
        self.media.duration_s = max(self.media.duration_s, end_s)
        check_duration(self.path, self.media.duration_s)  # whatever the header said

    def _see(self, frame) -> None:
        media, step_s = self.media, _frame_step_s(self.video)
        shown_s = self._shown_s(frame, step_s)
        start_s = shown_s - self.starts_s.setdefault("video", shown_s)
        held_s = float((frame.duration or 0) * frame.time_base) if frame.time_base else 0.0
        self._extend("video", shown_s + max(step_s, held_s))
        if media.cut or start_s + step_s / 2 < self.next_index / self.rate_hz:
            return
        if len(media.times_s) == self.max_frames:
            media.cut = True
            return
        check_resolution(self.path, frame)  # a stream may change it on the way
        media.times_s.append(start_s)
        self.next_index = max(self.next_index + 1, int((start_s + step_s / 2) * self.rate_hz) + 1)
        rgb, scale = to_rgb(frame, self.max_px)
        media.scales.append(scale)
        self.take(rgb, start_s)

    def _shown_s(self, frame, step_s: float) -> float:
        """Presentation time on the container's clock."""
        if not self.unstamped:
            return float(frame.time or 0.0)
        # An AVI stamps in the order of storage, so with B-frames 1, 3, 4, 2: frames come out in
        # order of presentation, as their decoding times rise; the last ones have none.
        if frame.dts is not None:
            return float(frame.dts * frame.time_base)
        return self.starts_s.get("video", 0.0) + self.ends_s.get("video", step_s)

    def _hear(self, frame) -> None:
        shown_s = float(frame.time or 0.0)
        self.starts_s.setdefault("audio", shown_s)
        self._extend("audio", shown_s + frame.samples / frame.sample_rate)
        if self.heard:
            return
        self.media.sample_rate_hz = frame.sample_rate
        block = to_mono(frame)
        self.n_samples += len(block)
        if self.hear is None:
            self.blocks.append(block)
        else:
            self.hear(block, frame.sample_rate, shown_s - self.starts_s["audio"])
        self.heard = self.n_samples >= self.audio_s * frame.sample_rate

    def _missing_s(self, container, streams: Sequence) -> float:
        """How much less than declared the streams hold, within what is read of them."""
        if container.format.name in UNSURE_OF_LENGTH:
            return 0.0
        declared = {s.type: _declared_s(s) for s in streams}
        if container.format.name == "wav":
            declared["audio"] = _declared_wav_s(self.path, self.audio)
        whole_s = (container.duration or 0) / 1e6
        if None in declared.values() and len(streams) == len(container.streams):
            longest = max(declared, key=lambda kind: self.ends_s.get(kind, 0.0))
            declared[longest] = declared[longest] or whole_s
        missing_s = 0.0
        for kind, declared_s in declared.items():
            if declared_s is None or (self.media.cut if kind == "video" else self.heard):
                continue
            wanted_s = declared_s if kind == "video" else min(declared_s, self.audio_s)
            lack_s = wanted_s - self.ends_s.get(kind, 0.0)
            if lack_s > max(TOLERANCE_S, TOLERANCE * wanted_s):
                missing_s = max(missing_s, lack_s)
        return missing_s


def _declared_s(stream) -> float | None:
    return float(stream.duration * stream.time_base) if stream.duration else None


def _declared_wav_s(path: Path, stream) -> float | None:
    """By the data chunk's own size, which FFmpeg cuts to the file's; None where it is unset."""
    with open(path, "rb") as f:
        f.seek(12)
        while len(head := f.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                streamed = size == 0 or size >= 0xFFFFFF00  # written before the end was known
                n_bytes_per_s = (stream.codec_context.bit_rate or 0) / 8
                return None if streamed or not n_bytes_per_s else size / n_bytes_per_s
            f.seek(size + size % 2, os.SEEK_CUR)
    return None


def _frame_step_s(stream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30


def to_mono(frame) -> np.ndarray:
    """One audio frame as mono float32: the mean of its channels, integers scaled to [-1, 1]."""
    data = frame.to_ndarray()
    n_channels = len(frame.layout.channels)
    if not frame.format.is_planar:
        data = data.reshape(-1, n_channels).T
    if data.dtype == np.uint8:
        data = (data.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float32) / float(np.iinfo(data.dtype).max + 1)
    data = data.astype(np.float32, copy=False)
    return data[0] if n_channels == 1 else data.mean(axis=0)
