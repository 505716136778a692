"""One pass over the packets of a recording: sampling, limits, and what is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.media.lengths import read_length, read_lengths
from keras_emo.media.picture import to_rgb
from keras_emo.media.recording import Media, TakeFrame, TakeSound
from keras_emo.media.sampling import SampleGrid
from keras_emo.media.sound import to_mono

MAX_PIXELS = 4096 * 2304
MAX_DURATION_S = 4 * 3600.0
SAMPLE_RATES_HZ = (4_000, 384_000)
# A stream may end this much before its declared end, encoder delay and the like, and be whole.
TOLERANCE_S, TOLERANCE = 0.2, 0.05


def check_duration(path: Path, duration_s: float) -> None:
    """Raise ClipError beyond MAX_DURATION_S."""
    if duration_s > MAX_DURATION_S:
        cause = f"{duration_s:.0f} s, at most {MAX_DURATION_S:.0f} s"
        raise ClipError(path, Reason.DURATION_LIMIT, cause)


def check_resolution(path: Path, width: int, height: int, limit: int = 0) -> None:
    """Raise ClipError beyond limit pixels; 0: MAX_PIXELS, as of a video."""
    if width * height > (limit or MAX_PIXELS):
        cause = f"{width}x{height}, at most {limit or MAX_PIXELS} pixels"
        raise ClipError(path, Reason.RESOLUTION_LIMIT, cause)


def check_sample_rate(path: Path, stream: Any) -> None:
    """Raise ClipError outside SAMPLE_RATES_HZ."""
    low, high = SAMPLE_RATES_HZ
    if not low <= (stream.sample_rate or 0) <= high:
        cause = f"sample rate {stream.sample_rate} Hz, allowed {low} to {high}"
        raise ClipError(path, Reason.BAD_HEADER, cause)


@dataclass
class Reading:
    """One pass over the packets of the chosen streams, into media and take.

    In H.264 a picture that is neither kept nor needed for another is not decoded, which changes
    no pixel of those that are; from the first damage on all are, to tell how much there is.
    """

    path: Path
    media: Media
    video: Any
    audio: Any
    rate_hz: float  # of the pictures kept
    max_frames: int
    audio_s: float
    take: TakeFrame
    max_px: int = 0  # longer side of a picture handed on; 0: any
    hear: TakeSound | None = None  # given the sound as it comes; None keeps it
    grid: SampleGrid = field(init=False)
    starts_s: dict[str, float] = field(default_factory=dict)  # of each kind of stream
    ends_s: dict[str, float] = field(default_factory=dict)  # from its start
    blocks: list[np.ndarray] = field(default_factory=list)
    n_samples: int = 0
    heard: bool = False  # all the sound asked for
    unstamped: bool = False  # the container has no presentation times
    may_spare: bool = False  # the decoder knows pictures that no other one needs
    discarded: str = "DEFAULT"  # what the decoder leaves out

    def __post_init__(self) -> None:
        step_s = _frame_step_s(self.video) if self.video is not None else 0.0
        self.grid = SampleGrid(self.rate_hz, step_s)

    def run(self, container: Any) -> Iterator[None]:
        """Read to the end, or until all that is kept has come, a packet a step.

        Raises ClipError.
        """
        import av

        media = self.media
        self.unstamped = container.format.name == "avi"
        self.may_spare = _may_spare(self.video) and not self.unstamped
        streams = [s for s in (self.video, self.audio) if s is not None]
        for packet in self._packets(container, streams):
            kind = packet.stream.type
            if self._is_done(packet):
                media.duration_s = max(media.duration_s, (container.duration or 0) / 1e6)
                break
            if media.cut if kind == "video" else self.heard:
                self._note_end(kind, packet)  # nothing more of it is kept: damage is no matter
                continue
            spared = kind == "video" and self.may_spare and self._spare(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                media.damaged_packets += 1
                continue
            if spared:
                self._note_shown(packet, _to_s(packet.pts, packet.time_base))
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

    def _packets(self, container: Any, streams: Sequence[Any]) -> Iterator[Any]:
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

    def _is_done(self, packet: Any) -> bool:
        """Whether all that is kept has been read, or the sound has ended before the picture."""
        if self.video is not None and not self.media.cut:
            return False
        if self.audio is None or self.heard:
            return True
        declared_s = read_length(self.audio)
        if declared_s is None or packet.stream.type != "video" or packet.pts is None:
            return False
        past_s = float(packet.pts * packet.time_base) - self.starts_s.get("video", 0.0)
        return past_s > declared_s + 1.0  # streams are interleaved within a second

    def _spare(self, packet: Any) -> bool:
        """Tell the decoder whether this picture is kept, as far as is known; True if it is not."""
        spared = False
        whole = not (self.media.damaged_packets or packet.is_corrupt)
        if whole and packet.pts is not None and "video" in self.starts_s:
            shown_s = _to_s(packet.pts, packet.time_base)
            spared = self.grid.is_past(shown_s - self.starts_s["video"])
        wanted = "NONREF" if spared else "DEFAULT"  # the decoder still decodes what others need
        if wanted != self.discarded:
            self.video.codec_context.skip_frame = self.discarded = wanted
        return spared

    def _note_end(self, kind: str, packet: Any) -> None:
        if packet.pts is not None:
            end_s = _to_s(packet.pts + (packet.duration or 0), packet.time_base)
            self._extend(kind, end_s)

    def _extend(self, kind: str, end_s: float) -> None:
        end_s -= self.starts_s.get(kind, 0.0)
        self.ends_s[kind] = max(self.ends_s.get(kind, 0.0), end_s)
        self.media.duration_s = max(self.media.duration_s, end_s)
        check_duration(self.path, self.media.duration_s)  # whatever the header said

    def _see(self, frame: Any) -> None:
        media = self.media
        shown_s = self._shown_s(frame)
        start_s = shown_s - self.starts_s.setdefault("video", shown_s)
        self._note_shown(frame, shown_s)
        if media.cut or not self.grid.is_due(start_s):
            return
        if len(media.times_s) == self.max_frames:
            media.cut = True
            return
        check_resolution(self.path, frame.width, frame.height)  # a stream may change it on the way
        media.times_s.append(start_s)
        self.grid.take(start_s)
        rgb, scale = to_rgb(frame, self.max_px)
        media.scales.append(scale)
        self.take(rgb, start_s)

    def _note_shown(self, picture: Any, shown_s: float) -> None:
        """picture: a frame or its packet."""
        held_s = _to_s(picture.duration or 0, picture.time_base) if picture.time_base else 0.0
        self._extend("video", shown_s + max(self.grid.step_s, held_s))

    def _shown_s(self, frame: Any) -> float:
        """Presentation time on the container's clock."""
        if not self.unstamped:
            return float(frame.time or 0.0)
        # An AVI stamps in the order of storage, so with B-frames 1, 3, 4, 2: frames come out in
        # order of presentation, as their decoding times rise; the last ones have none.
        if frame.dts is not None:
            return float(frame.dts * frame.time_base)
        return self.starts_s.get("video", 0.0) + self.ends_s.get("video", self.grid.step_s)

    def _hear(self, frame: Any) -> None:
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

    def _missing_s(self, container: Any, streams: Sequence[Any]) -> float:
        """How much less than declared the streams hold, within what is read of them."""
        missing_s = 0.0
        declared = read_lengths(self.path, container, streams, self.ends_s)
        for kind, declared_s in declared.items():
            if declared_s is None or (self.media.cut if kind == "video" else self.heard):
                continue
            wanted_s = declared_s if kind == "video" else min(declared_s, self.audio_s)
            lack_s = wanted_s - self.ends_s.get(kind, 0.0)
            if lack_s > max(TOLERANCE_S, TOLERANCE * wanted_s):
                missing_s = max(missing_s, lack_s)
        return missing_s


def _may_spare(video: Any) -> bool:
    # only H.264 says of every picture, for sure, whether another one is made from it
    return video is not None and video.codec_context.name == "h264"


def _to_s(ticks: int, time_base: Fraction) -> float:
    return ticks * time_base.numerator / time_base.denominator  # as float(ticks * time_base)


def _frame_step_s(stream: Any) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30
