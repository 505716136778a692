"""Read a recording or pictures in one pass: timed RGB frames and a mono waveform."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_emo.errors import ClipError, Reason, describe_error
from keras_emo.media.decode import Decoding, check_resolution
from keras_emo.media.recording import Frame, Media, OnFrame, Streams

# A text file named .mp4 can make FFmpeg open other files: only these containers, only files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,mp3,flac,ogg"
OPEN_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PICTURE_PIXELS = 1 << 25  # of a picture on disk, as cameras make them
_N_AHEAD = 3  # frames decoded ahead of the one in which faces are looked for


@dataclass(frozen=True)
class ClipSource:
    """Where a clip's picture and sound come from; they may be one file or two.

    video: file with the picture, or None. audio: file with the sound, or None (None with a
    video means: the video's own sound). frames: face pictures in order instead of a video, at
    the rate of the samples.
    """

    video: Path | None = None
    audio: Path | None = None
    frames: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """The file to name in messages."""
        return self.files[0]

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
        raise ClipError(path, Reason.UNREADABLE, describe_error(e)) from None
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
    on_frame: OnFrame | None = None,
    max_px: int = 0,
) -> Media:
    """Decode picture and sound of one file in one demux pass.

    frame_rate_hz: frames a second to keep, by presentation time (None: no picture), see
    SampleGrid. audio_s: keep at most this much sound; 0: none. on_frame: called with each sampled
    frame as it comes, so that only one is held at a time; None keeps them in Media.frames.
    max_px: longer side of a sampled frame, a larger one is shrunk as it is converted, see
    Frame.scale; 0: none is. threads: of the picture's decoder; they change no pixel. The first
    stream of a kind that can be decoded is read. Damaged packets are skipped and counted.
    Raises ClipError.
    """
    frames: list[Frame] = []
    blocks: list[np.ndarray] = []
    with open_media(path, frame_rate_hz, max_frames, audio_s, threads, max_px) as decoding:
        for _ in decoding.run(on_frame or frames.append, lambda block, *_: blocks.append(block)):
            pass
        waveform = np.concatenate(blocks) if blocks else None
        return replace(decoding.media, frames=tuple(frames), waveform=waveform)


@contextmanager
def open_media(
    path: Path,
    frame_rate_hz: float | None = 3.0,
    max_frames: int = 96,
    audio_s: float | None = None,
    threads: int = 1,
    max_px: int = 0,
) -> Iterator[Decoding]:
    """read_media in steps, for long recordings: a context whose value is run packet by packet."""
    path = check_file(path)
    with open_container(path) as container:
        yield Decoding(path, container, frame_rate_hz, max_frames, audio_s, threads, max_px)


def open_container(
    path: Path | str, options: Mapping[str, str] = OPEN_OPTIONS, timeout_s: float | None = None
) -> Any:
    """A file or an address opened by PyAV, a context. Raises ClipError."""
    import av  # here: cv2 and av each bring FFmpeg, and not every command decodes

    try:
        return av.open(str(path), options=dict(options), timeout=timeout_s,
                       metadata_errors="replace")  # fmt: skip
    except (av.error.FFmpegError, ValueError, OSError) as e:
        raise translate_error(path, e) from None


def translate_error(path: Path | str, error: Exception) -> ClipError:
    """The ClipError for what the system or FFmpeg raised while a file or address was read."""
    import av

    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return ClipError(path, Reason.UNREADABLE, describe_error(error))
    try:
        with open(path, "rb") as f:
            head = f.read(16)
    except OSError:  # an address
        return ClipError(path, Reason.UNREADABLE, f"cannot be read ({type(error).__name__})")
    if b"moov" not in head and head[4:8] == b"ftyp":
        cause = "the index is missing; the file may be cut short"
        return ClipError(path, Reason.TRUNCATED_CONTAINER, cause)
    if head[:8].lstrip().startswith((b"ffconcat", b"#EXTM3U", b"<?xml")):
        return ClipError(path, Reason.FORMAT_NOT_ALLOWED, "a playlist or text, not a recording")
    cause = f"not a readable audio or video file ({type(error).__name__})"
    return ClipError(path, Reason.NOT_MEDIA, cause)


def relay_frames(read: Callable[[OnFrame], Media], on_frame: OnFrame) -> Media:
    """read(on_frame), but on_frame is called in another thread, in order, a few frames behind.

    So faces are found on one core while the next frames are decoded on others. Whatever either
    raises is raised here and ends the reading; no thread is left then.
    """
    given: deque[Future[None]] = deque()

    def call(frame: Frame, before: Future[None] | None) -> None:
        if before is not None:
            before.result()  # raises: after a failure no further frame is passed on
        on_frame(frame)

    def relay(frame: Frame) -> None:
        given.append(pool.submit(call, frame, given[-1] if given else None))
        if len(given) > _N_AHEAD:
            given.popleft().result()

    with ThreadPoolExecutor(1, "faces") as pool:
        media = read(relay)
        for future in given:
            future.result()
    return media


def read_image(path: Path) -> np.ndarray:
    """A picture on disk as RGB uint8 (height, width, 3). Raises ClipError."""
    data = np.fromfile(check_file(path), np.uint8)  # cv2.imread fails on some names
    size = read_size(data.tobytes())
    if size is None:
        raise ClipError(path, Reason.NOT_MEDIA, "not a whole PNG or JPEG picture")
    check_resolution(path, *size, MAX_PICTURE_PIXELS)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels in the header than OpenCV accepts
        bgr = None
    if bgr is None:
        raise ClipError(path, Reason.NOT_MEDIA, "not a readable picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_images(
    paths: tuple[Path, ...], rate_hz: float, max_frames: int = 96, on_frame: OnFrame | None = None
) -> Media:
    """Pictures on disk as frames at rate_hz, the first max_frames of them. Raises ClipError.

    on_frame: as in read_media.
    """
    frames: list[Frame] = []
    for i, path in enumerate(paths[:max_frames]):
        (on_frame or frames.append)(Frame(read_image(path), i / rate_hz))
    streams, cut = Streams(has_video=True), len(paths) > max_frames
    return Media(tuple(frames), streams=streams, duration_s=len(paths) / rate_hz, cut=cut)


def read_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in px that a PNG or JPEG declares, None where it is neither or cut short.

    For limits that hold before memory is reserved: OpenCV decodes up to 2**30 pixels, and reserves
    any length that a chunk of a PNG declares.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png_size(data)
    return _read_jpeg_size(data) if data[:2] == b"\xff\xd8" else None


def _read_png_size(data: bytes) -> tuple[int, int] | None:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IEND" and not length:
            return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        at += 12 + length
    return None


def _read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # filling, which decoders pass over
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame starts
            height, width = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (5, 7))
            return width, height
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
