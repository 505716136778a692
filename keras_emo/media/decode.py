"""One pass over the packets of a recording: sampling, limits, and what is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from keras_emo.errors import ClipError, Reason
from keras_emo.media.recording import (
    Media,
    OnAudio,
    OnFrame,
    SampleGrid,
    Streams,
    convert_frame,
    read_length,
    read_lengths,
)
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


class Decoding:
    """One pass over the first decodable picture and sound of an open container.

    In H.264 a picture that is neither kept nor needed for another is not decoded, which changes
    no pixel of those that are; from the first damage on all are decoded, to count the damage.
    The attributes follow the reading. Raises ClipError beyond the limits of duration, resolution
    or sample rate. Parameters: as in reader.read_media.
    """

    def __init__(
        self,
        path: Path,
        container: Any,
        frame_rate_hz: float | None,
        max_frames: int,
        audio_s: float | None,
        threads: int,
        max_px: int,
    ):
        self.path, self.max_frames, self.max_px = path, max_frames, max_px
        self.audio_s = float("inf") if audio_s is None else audio_s
        self.sample_rate_hz = self.damaged_packets = 0
        self.duration_s = self.declared_s = self.missing_s = 0.0
        self.cut = False  # frames beyond max_frames were left out
        self._container, self._n_frames, self._n_samples = container, 0, 0
        self._starts_s: dict[str, float] = {}  # of each kind of stream
        self._ends_s: dict[str, float] = {}  # from its start
        self._has_all_audio = False
        self._discarded = "DEFAULT"  # what the decoder leaves out
        duration_s = (container.duration or 0) / 1e6
        check_duration(path, duration_s)
        pictures = [s for s in container.streams.video if not _is_cover(s)]
        wanted = {
            "video": [] if frame_rate_hz is None else pictures,
            "audio": container.streams.audio if self.audio_s else [],
        }
        decodable = {k: [s for s in ss if s.codec_context is not None] for k, ss in wanted.items()}
        video, audio = (next(iter(streams), None) for streams in decodable.values())
        self._video: Any = video
        self._audio: Any = audio
        undecodable = tuple(k for k, streams in wanted.items() if streams and not decodable[k])
        self.streams = Streams(video is not None, audio is not None, undecodable)
        self._chosen = [s for s in (video, audio) if s is not None]
        if video is not None:
            check_resolution(path, video.codec_context.width, video.codec_context.height)
            video.codec_context.thread_count = threads
            video.codec_context.thread_type = "AUTO" if threads != 1 else "SLICE"
        low, high = SAMPLE_RATES_HZ
        if audio is not None and not low <= (audio.sample_rate or 0) <= high:
            cause = f"sample rate {audio.sample_rate} Hz, allowed {low} to {high}"
            raise ClipError(path, Reason.BAD_HEADER, cause)
        if self._chosen:
            self.declared_s = duration_s
        self._has_times = container.format.name != "avi"
        # only H.264 marks, for sure, every picture that another one is made from
        is_h264 = video is not None and video.codec_context.name == "h264"
        self._may_spare = is_h264 and self._has_times
        self._grid = SampleGrid(frame_rate_hz or 0.0, 0.0 if video is None else _step_s(video))

    @property
    def media(self) -> Media:
        """What has been read so far, but for frames and sound, which the callbacks have."""
        return Media(
            sample_rate_hz=self.sample_rate_hz,
            streams=self.streams,
            duration_s=self.duration_s,
            declared_s=self.declared_s,
            damaged_packets=self.damaged_packets,
            missing_s=self.missing_s,
            cut=self.cut,
        )

    def run(self, on_frame: OnFrame, on_audio: OnAudio) -> Iterator[None]:
        """Read to the end, or until all that is wanted has come, a packet a step.

        on_frame: called with each sampled frame. on_audio: called with the sound block by block.
        Raises ClipError.
        """
        import av

        for packet in self._packets():
            kind = packet.stream.type
            if self._is_done(packet):
                self.duration_s = max(self.duration_s, self.declared_s)
                break
            if self._is_enough(kind):
                self._note_end(kind, packet)  # nothing more of it is kept: damage is no matter
                continue
            spared = kind == "video" and self._may_spare and self._spare(packet)
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                self.damaged_packets += 1
                continue
            if spared:
                self._note_shown(packet, _to_s(packet.pts, packet.time_base))
            for picture_or_sound in decoded:
                self.damaged_packets += bool(picture_or_sound.is_corrupt)
                if kind == "video":
                    self._read_picture(picture_or_sound, on_frame)
                else:
                    self._read_sound(picture_or_sound, on_audio)
            yield
        if self.streams.has_video and not self._n_frames and not self._n_samples:
            raise ClipError(self.path, Reason.NO_FRAMES, "no picture could be decoded")
        self.missing_s = self._find_missing_s()

    def _packets(self) -> Iterator[Any]:
        """Packets until the end; a demuxer that stumbles ends the stream, counted as damage."""
        import av

        packets = self._container.demux(self._chosen) if self._chosen else iter(())
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self.damaged_packets += 1
                return

    def _is_enough(self, kind: str) -> bool:
        return self.cut if kind == "video" else self._has_all_audio

    def _is_done(self, packet: Any) -> bool:
        """Whether all that is wanted was read, or the sound has ended before the picture."""
        if self._video is not None and not self.cut:
            return False
        if self._audio is None or self._has_all_audio:
            return True
        declared_s = read_length(self._audio)
        if declared_s is None or packet.stream.type != "video" or packet.pts is None:
            return False
        past_s = float(packet.pts * packet.time_base) - self._starts_s.get("video", 0.0)
        return past_s > declared_s + 1.0  # streams are interleaved within a second

    def _spare(self, packet: Any) -> bool:
        """Let the decoder skip this picture if it is surely not kept; whether it may."""
        spared = False
        whole = not (self.damaged_packets or packet.is_corrupt)
        if whole and packet.pts is not None and "video" in self._starts_s:
            shown_s = _to_s(packet.pts, packet.time_base)
            spared = self._grid.is_past(shown_s - self._starts_s["video"])
        wanted = "NONREF" if spared else "DEFAULT"  # the decoder still decodes what others need
        if wanted != self._discarded:
            self._video.codec_context.skip_frame = self._discarded = wanted
        return spared

    def _note_end(self, kind: str, packet: Any) -> None:
        if packet.pts is not None:
            end_s = _to_s(packet.pts + (packet.duration or 0), packet.time_base)
            self._extend(kind, end_s)

    def _extend(self, kind: str, end_s: float) -> None:
        end_s -= self._starts_s.get(kind, 0.0)
        self._ends_s[kind] = max(self._ends_s.get(kind, 0.0), end_s)
        self.duration_s = max(self.duration_s, end_s)
        check_duration(self.path, self.duration_s)  # the header may be wrong

    def _read_picture(self, picture: Any, on_frame: OnFrame) -> None:
        shown_s = self._shown_s(picture)
        start_s = shown_s - self._starts_s.setdefault("video", shown_s)
        self._note_shown(picture, shown_s)
        if self.cut or not self._grid.is_due(start_s):
            return
        if self._n_frames == self.max_frames:
            self.cut = True
            return
        check_resolution(self.path, picture.width, picture.height)  # it may change on the way
        self._n_frames += 1
        self._grid.keep(start_s)
        on_frame(convert_frame(picture, start_s, self.max_px))

    def _note_shown(self, picture: Any, shown_s: float) -> None:
        """picture: a decoded one or its packet."""
        held_s = _to_s(picture.duration or 0, picture.time_base) if picture.time_base else 0.0
        self._extend("video", shown_s + max(self._grid.step_s, held_s))

    def _shown_s(self, picture: Any) -> float:
        """Presentation time on the container's clock."""
        if self._has_times:
            return float(picture.time or 0.0)
        # An AVI stamps in the order of storage, so with B-frames 1, 3, 4, 2: pictures come out in
        # order of presentation, as their decoding times rise; the last ones have none.
        if picture.dts is not None:
            return float(picture.dts * picture.time_base)
        return self._starts_s.get("video", 0.0) + self._ends_s.get("video", self._grid.step_s)

    def _read_sound(self, sound: Any, on_audio: OnAudio) -> None:
        rate_hz, shown_s = sound.sample_rate, float(sound.time or 0.0)
        start_s = shown_s - self._starts_s.setdefault("audio", shown_s)
        self._extend("audio", shown_s + sound.samples / rate_hz)
        if self._has_all_audio:
            return
        self.sample_rate_hz, block = rate_hz, to_mono(sound)
        self._has_all_audio = self._n_samples + len(block) >= self.audio_s * rate_hz
        if self._has_all_audio:
            block = block[: round(self.audio_s * rate_hz) - self._n_samples]
        self._n_samples += len(block)
        on_audio(block, rate_hz, start_s)

    def _find_missing_s(self) -> float:
        """How much less than declared the streams hold, within what is read of them."""
        missing_s = 0.0
        declared = read_lengths(self.path, self._container, self._chosen, self._ends_s)
        for kind, declared_s in declared.items():
            if declared_s is None or self._is_enough(kind):
                continue
            wanted_s = declared_s if kind == "video" else min(declared_s, self.audio_s)
            lack_s = wanted_s - self._ends_s.get(kind, 0.0)
            if lack_s > max(TOLERANCE_S, TOLERANCE * wanted_s):
                missing_s = max(missing_s, lack_s)
        return missing_s


def _is_cover(stream: Any) -> bool:
    return bool(getattr(stream, "disposition", 0) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


def _to_s(ticks: int, time_base: Fraction) -> float:
    return ticks * time_base.numerator / time_base.denominator  # as float(ticks * time_base)


def _step_s(stream: Any) -> float:
    """Time from one picture to the next."""
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30
