"""Decode a clip in one pass: timed RGB frames and a mono waveform."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soxr

from keras_emo.errors import ClipError, Reason
from keras_emo.media.decode import (
    Reading,
    check_duration,
    check_resolution,
    check_sample_rate,
)
from keras_emo.media.edits import shows_all
from keras_emo.media.picture import read_size
from keras_emo.media.recording import Media, TakeFrame, TakeSound

# A text file named .mp4 can make FFmpeg open other files: only these containers, only files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,mp3,flac,ogg"
OPEN_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PICTURE_PIXELS = 1 << 25  # of a picture on disk, as cameras make them


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
    take: TakeFrame | None = None,
    max_px: int = 0,
) -> Media:
    """Decode picture and sound of one file in one demux pass.

    frame_rate_hz: frames a second to keep, by presentation time (None: no picture). The frame
    kept for time t is the first at or after t, half a source frame tolerated, so 3 a second
    takes every tenth frame at 30 fps. audio_s: keep at most this much sound; 0: none. take:
    called with each kept frame and its time as it comes, so that only one is held at a time;
    None keeps them in Media.frames. max_px: longer side of a kept frame, a larger one is shrunk
    as it is converted, see Media.scales; 0: none is. threads: of the picture's decoder; they
    change no pixel. The first stream of a kind that can be decoded is read. Damaged packets are
    skipped and counted. Raises ClipError.
    """
    media = Media()
    steps = stream_media(path, media, frame_rate_hz, max_frames, audio_s, threads, take, max_px)
    for _ in steps:
        pass
    return media


def stream_media(
    path: Path,
    media: Media,
    frame_rate_hz: float | None = 3.0,
    max_frames: int = 96,
    audio_s: float | None = None,
    threads: int = 1,
    take: TakeFrame | None = None,
    max_px: int = 0,
    hear: TakeSound | None = None,
) -> Iterator[None]:
    """read_media in steps, a packet each, so that the caller goes on with what came meanwhile.

    media: filled on the way. hear: called with the sound as it comes, none of it is kept then.
    """
    import av  # here: cv2 and av each bring FFmpeg, and not every command decodes

    path = check_file(path)
    try:
        plain = {"advanced_editlist": "0"} if shows_all(path) else {}
        container = av.open(str(path), options=OPEN_OPTIONS | plain, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as e:
        raise ClipError(path, *_open_failure(path, e)) from None
    except OSError as e:
        raise ClipError(path, Reason.UNREADABLE, e.strerror or str(e)) from None
    with container:
        duration_s = (container.duration or 0) / 1e6
        check_duration(path, duration_s)
        pictures = [s for s in container.streams.video if not _is_cover(s)]
        video = _choose(pictures, media) if frame_rate_hz is not None else None
        audio = _choose(container.streams.audio, media) if audio_s != 0 else None
        if video is not None:
            check_resolution(path, video.codec_context.width, video.codec_context.height)
            video.codec_context.thread_count = threads
            video.codec_context.thread_type = "AUTO" if threads != 1 else "SLICE"
            media.has_video = True
        if audio is not None:
            check_sample_rate(path, audio)
            media.has_audio = True
        if video is not None or audio is not None:
            media.declared_s = duration_s
            limit_s = float("inf") if audio_s is None else audio_s
            reading = Reading(
                path, media, video, audio, frame_rate_hz or 0.0, max_frames, limit_s,
                take or (lambda rgb, _: media.frames.append(rgb)), max_px, hear,
            )  # fmt: skip
            yield from reading.run(container)


def _is_cover(stream: Any) -> bool:
    return bool(getattr(stream, "disposition", 0) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


def _open_failure(path: Path, error: Exception) -> tuple[Reason, str]:
    with open(path, "rb") as f:
        head = f.read(16)
    if b"moov" not in head and head[4:8] == b"ftyp":
        return Reason.TRUNCATED_CONTAINER, "the index is missing; the file may be cut short"
    if head[:8].lstrip().startswith((b"ffconcat", b"#EXTM3U", b"<?xml")):
        return Reason.FORMAT_NOT_ALLOWED, "a playlist or text, not a recording"
    return Reason.NOT_MEDIA, f"not a readable audio or video file ({type(error).__name__})"


def _choose(streams: Sequence[Any], media: Media) -> Any:
    """The first stream with a decoder; where none has one, None and a note of it."""
    for stream in streams:
        if stream.codec_context is not None:
            return stream
    media.undecodable += [s.type for s in streams[:1]]
    return None


def read_image(path: Path) -> np.ndarray:
    """A picture on disk as RGB uint8 (height, width, 3). Raises ClipError."""
    data = np.fromfile(check_file(path), np.uint8)  # cv2.imread fails on some names
    size = read_size(data.tobytes())
    if size is None:
        raise ClipError(path, Reason.NOT_MEDIA, "not a whole PNG or JPEG picture")
    check_resolution(path, *size, MAX_PICTURE_PIXELS)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        bgr = None
    if bgr is None:
        raise ClipError(path, Reason.NOT_MEDIA, "not a readable picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_images(
    paths: tuple[Path, ...],
    rate_hz: float,
    max_frames: int = 96,
    take: TakeFrame | None = None,
) -> Media:
    """Pictures on disk as frames at rate_hz, the first max_frames of them. Raises ClipError.

    take: as in read_media.
    """
    media = Media(has_video=True, cut=len(paths) > max_frames)
    for i, path in enumerate(paths[:max_frames]):
        picture, time_s = read_image(path), i / rate_hz
        media.times_s.append(time_s)
        media.scales.append((1.0, 1.0))
        if take is None:
            media.frames.append(picture)
        else:
            take(picture, time_s)
    media.duration_s = len(paths) / rate_hz
    return media


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Mono float32 at to_hz (soxr, high quality)."""
    if from_hz == to_hz:
        return waveform
    resampled: np.ndarray = soxr.resample(waveform, from_hz, to_hz, quality="HQ")
    return resampled.astype(np.float32)
