"""Decode a clip in one pass: timed RGB frames and a mono waveform."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import soxr

from keras_emo.core.errors import ClipError, Reason

# A text file named .mp4 can make FFmpeg open other files: only these containers, only files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,mp3,flac,ogg"
OPEN_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 4096 * 2304
MAX_DURATION_S = 4 * 3600.0
SAMPLE_RATES_HZ = (4_000, 384_000)


@dataclass(frozen=True)
class ClipSource:
    """Where a clip's picture and sound come from; they may be one file or two.

    video: file with the picture, or None. audio: file with the sound, or None (None with a
    video means: the video's own sound). frames: face pictures in order instead of a video,
    taken as already sampled.
    """

    video: Path | None = None
    audio: Path | None = None
    frames: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """The file to name in messages."""
        for path in (self.video, self.audio, *self.frames):
            if path is not None:
                return path
        raise ValueError("a clip source with no file")

    @property
    def files(self) -> tuple[Path, ...]:
        named = [p for p in (self.video, self.audio) if p is not None]
        return (*named, *self.frames)


@dataclass
class Media:
    """What was decoded.

    frames: RGB uint8 arrays (height, width, 3); times_s: their presentation times.
    waveform: mono float32 in [-1, 1] at sample_rate_hz, or None where there is no sound.
    duration_s: of the longer stream as far as decoded. damaged_packets: skipped ones.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    waveform: np.ndarray | None = None
    sample_rate_hz: int = 0
    duration_s: float = 0.0
    damaged_packets: int = 0
    has_video: bool = False
    cut: bool = False  # frames beyond the limit were left out


def check_file(path: Path) -> Path:
    """Absolute path of a readable, non-empty regular file. Raises ClipError otherwise."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        cause = "a link that leads nowhere" if path.is_symlink() else "no such file"
        raise ClipError(path, Reason.NOT_FOUND, cause) from None
    except OSError as e:
        raise ClipError(path, Reason.UNREADABLE, e.strerror or str(e)) from None
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise ClipError(path, Reason.NOT_REGULAR_FILE, kind)
    if info.st_size == 0:
        raise ClipError(path, Reason.EMPTY_FILE, "the file has no bytes")
    if not os.access(path, os.R_OK):
        raise ClipError(path, Reason.UNREADABLE, "permission denied")
    return Path(os.path.abspath(path))


def read_media(
    path: Path,
    frame_rate_hz: float | None = 3.0,
    max_frames: int = 96,
    audio_s: float | None = None,
    threads: int = 1,
) -> Media:
    """Decode picture and sound of one file in one demux pass.

    frame_rate_hz: frames a second to keep, by presentation time (None: no picture). The frame
    kept for time t is the first at or after t, half a source frame tolerated, so 3 a second
    takes every tenth frame at 30 fps. audio_s: keep at most this much sound; 0: none.
    Damaged packets are skipped and counted. Raises ClipError.
    """
    import av  # here: cv2 and av each bring FFmpeg, and not every command decodes

    path = check_file(path)
    media = Media()
    try:
        container = av.open(str(path), options=OPEN_OPTIONS, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as e:
        raise ClipError(path, *_open_failure(path, e)) from None
    with container:
        _check_limits(path, container)
        video = next((s for s in container.streams.video if not _is_cover(s)), None)
        audio = container.streams.audio[0] if container.streams.audio else None
        if frame_rate_hz is None:
            video = None
        if audio_s == 0:
            audio = None
        streams = [s for s in (video, audio) if s is not None]
        if not streams:
            return media
        if video is not None:
            video.codec_context.thread_count = threads
            video.codec_context.thread_type = "AUTO" if threads != 1 else "SLICE"
            media.has_video = True
        _decode(path, container, streams, media, frame_rate_hz, max_frames, audio_s)
    return media


def _is_cover(stream) -> bool:
    return bool(getattr(stream, "disposition", 0) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


def _open_failure(path: Path, error: Exception) -> tuple[Reason, str]:
    with open(path, "rb") as f:
        head = f.read(16)
    if b"moov" not in head and head[4:8] == b"ftyp":
        return Reason.TRUNCATED_CONTAINER, "the index is missing; the file may be cut short"
    if head[:8].lstrip().startswith((b"ffconcat", b"#EXTM3U", b"<?xml")):
        return Reason.FORMAT_NOT_ALLOWED, "a playlist or text, not a recording"
    return Reason.NOT_MEDIA, f"not a readable audio or video file ({type(error).__name__})"


def _check_limits(path: Path, container) -> None:
    if container.duration is not None and container.duration / 1e6 > MAX_DURATION_S:
        cause = f"{container.duration / 1e6:.0f} s, at most {MAX_DURATION_S:.0f} s"
        raise ClipError(path, Reason.DURATION_LIMIT, cause)
    for s in (*container.streams.video, *container.streams.audio):
        if s.codec_context is None:
            raise ClipError(path, Reason.UNSUPPORTED_CODEC, f"no decoder for its {s.type} stream")
    for s in container.streams.video:
        if s.codec_context.width * s.codec_context.height > MAX_PIXELS:
            cause = f"{s.codec_context.width}x{s.codec_context.height}, at most {MAX_PIXELS} pixels"
            raise ClipError(path, Reason.RESOLUTION_LIMIT, cause)
    low, high = SAMPLE_RATES_HZ
    for s in container.streams.audio:
        if not low <= (s.sample_rate or 0) <= high:
            cause = f"sample rate {s.sample_rate} Hz, allowed {low} to {high}"
            raise ClipError(path, Reason.BAD_HEADER, cause)


def _decode(path, container, streams, media, rate_hz, max_frames, audio_s) -> None:
    import av

    blocks: list[np.ndarray] = []
    n_samples, next_index, last_frame, hears_on = 0, 0, None, len(streams) > media.has_video
    for packet in _packets(container, streams, media):
        if media.cut and not hears_on:  # all that is kept has been read
            media.duration_s = max(media.duration_s, (container.duration or 0) / 1e6)
            break
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            media.damaged_packets += 1
            continue
        for frame in frames:
            start_s = float(frame.time or 0.0)
            if isinstance(frame, av.VideoFrame):
                step_s = _frame_step_s(packet.stream)
                media.duration_s = max(media.duration_s, start_s + step_s)
                if start_s + step_s / 2 < next_index / rate_hz:
                    last_frame = frame
                    continue
                last_frame = None
                if len(media.frames) == max_frames:
                    media.cut = True
                    continue
                media.frames.append(_to_rgb(frame))
                media.times_s.append(start_s)
                next_index = max(next_index + 1, int((start_s + step_s / 2) * rate_hz) + 1)
            else:
                media.sample_rate_hz = frame.sample_rate
                media.duration_s = max(
                    media.duration_s, start_s + frame.samples / frame.sample_rate
                )
                hears_on = audio_s is None or n_samples < audio_s * frame.sample_rate
                if hears_on:
                    block = _to_mono(frame)
                    n_samples += len(block)
                    blocks.append(block)
    if media.has_video and not media.frames and last_frame is not None:
        media.frames.append(_to_rgb(last_frame))  # a stream that starts late
        media.times_s.append(float(last_frame.time or 0.0))
    if media.has_video and not media.frames and not blocks:
        raise ClipError(path, Reason.NO_FRAMES, "no picture could be decoded")
    if blocks:
        waveform = np.concatenate(blocks)
        if audio_s is not None:
            waveform = waveform[: round(audio_s * media.sample_rate_hz)]
        media.waveform = waveform


def _packets(container, streams, media):
    """Packets until the end; a demuxer that stumbles ends the stream, counted as damage."""
    import av

    packets = container.demux(streams)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            media.damaged_packets += 1
            return


def _frame_step_s(stream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30


def _to_rgb(frame) -> np.ndarray:
    """RGB uint8 (height, width, 3), upright whatever the phone's orientation."""
    rgb = frame.to_ndarray(format="rgb24")
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    if turns:
        rgb = np.ascontiguousarray(np.rot90(rgb, turns))
    return rgb


def _to_mono(frame) -> np.ndarray:
    """One audio frame as mono float32: the mean of its channels, integers scaled to [-1, 1]."""
    data = frame.to_ndarray()
    n_channels = len(frame.layout.channels)
    if not frame.format.is_planar:
        data = data.reshape(-1, n_channels).T
    if data.dtype == np.uint8:
        data = (data.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float32) / float(np.iinfo(data.dtype).max + 1)
    return data.astype(np.float32).mean(axis=0)


def read_image(path: Path) -> np.ndarray:
    """A picture on disk as RGB uint8 (height, width, 3). Raises ClipError."""
    data = np.fromfile(check_file(path), np.uint8)  # cv2.imread fails on some names
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        bgr = None
    if bgr is None:
        raise ClipError(path, Reason.NOT_MEDIA, "not a readable picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_images(paths: tuple[Path, ...], rate_hz: float, max_frames: int = 96) -> Media:
    """Pictures on disk as frames at rate_hz, the first max_frames of them. Raises ClipError."""
    media = Media(has_video=True, cut=len(paths) > max_frames)
    for i, path in enumerate(paths[:max_frames]):
        media.frames.append(read_image(path))
        media.times_s.append(i / rate_hz)
    media.duration_s = len(paths) / rate_hz
    return media


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Mono float32 at to_hz (soxr, high quality)."""
    if from_hz == to_hz:
        return waveform
    return soxr.resample(waveform, from_hz, to_hz, quality="HQ").astype(np.float32)
