"""Live pictures and sound, read by a thread that never makes the source wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.media.reader import FORMATS, check_file, open_container, translate_error
from keras_emo.media.sound import to_mono

# An address names its protocol; nothing else is opened, wherever the stream points.
PROTOCOLS = {"rtsp": "rtsp,rtp,udp,tcp", "http": "http,tcp", "https": "https,tls,tcp"}
_STREAM_FORMATS = FORMATS + ",mpegts,flv,rtsp,mpjpeg"  # no playlists: they name other files
_TIMEOUT_S = 10.0
_SOUND_S = 10.0  # kept for a slow consumer

Sound = tuple[np.ndarray, int, float]  # mono float32 (n,), rate in Hz, time in s


@dataclass
class Latest:
    """What a reading thread hands over: the newest picture, and the latest sound.

    n_dropped: pictures that a newer one replaced before they were read.
    """

    n_dropped: int = 0
    stopped: bool = False
    ended: bool = False
    error: BaseException | None = None
    _picture: tuple[Any, float] | None = None
    _sound: deque[Sound] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, picture: Any, time_s: float) -> None:
        """Replace the picture; av.VideoFrame or RGB uint8 (height, width, 3)."""
        with self._changed:
            self.n_dropped += self._picture is not None
            self._picture = picture, time_s
            self._changed.notify()

    def put_sound(self, block: np.ndarray, rate_hz: int, time_s: float) -> None:
        """Add sound, of which the last _SOUND_S are kept."""
        with self._changed:
            self._sound.append((block, rate_hz, time_s))
            while time_s - self._sound[0][2] > _SOUND_S:
                self._sound.popleft()

    def end(self, error: BaseException | None = None) -> None:
        """Note that nothing more comes."""
        with self._changed:
            self.ended, self.error = True, error
            self._changed.notify()

    def read(self, timeout_s: float) -> tuple[tuple[Any, float] | None, list[Sound]]:
        """The newest picture, None where none came in time, and all sound since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self._picture is not None or self.ended, timeout_s)
            picture, self._picture = self._picture, None
            sound = list(self._sound)
            self._sound.clear()
            return picture, sound


class Webcam:
    """A camera by its number; pictures only."""

    has_audio = False

    def __init__(self, number: int):
        self.number = number

    def read(self, latest: Latest) -> None:
        """Put its pictures into latest until latest.stopped or the end. Raises ClipError."""
        logging = cv2.utils.logging  # its warnings would repeat our error
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        camera = cv2.VideoCapture(self.number)
        try:
            if not camera.isOpened():
                raise ClipError(f"webcam {self.number}", Reason.NOT_FOUND, "no such camera")
            start_s = time.monotonic()
            while not latest.stopped:
                came, bgr = camera.read()
                if not came:
                    raise ClipError(f"webcam {self.number}", Reason.UNREADABLE, "no more pictures")
                rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                latest.put(rgb, time.monotonic() - start_s)
        finally:
            camera.release()


class Stream:
    """A file or an rtsp, http or https address, with its sound; a recording at its own speed."""

    def __init__(self, address: str):
        self.address = address
        protocol = address.partition("://")[0].lower() if "://" in address else "file"
        if protocol not in ("file", *PROTOCOLS):
            cause = f"{protocol} is not supported, only files, {', '.join(PROTOCOLS)}"
            raise ClipError(address, Reason.FORMAT_NOT_ALLOWED, cause)
        if protocol == "file":
            self._container = open_container(check_file(Path(address.removeprefix("file://"))))
        else:
            allowed = PROTOCOLS[protocol]
            options = {"format_whitelist": _STREAM_FORMATS, "protocol_whitelist": allowed}
            self._container = open_container(address, options, _TIMEOUT_S)
        streams = self._container.streams
        first = [*streams.video[:1], *streams.audio[:1]]
        self._streams = [s for s in first if s.codec_context is not None]
        kinds = {s.type for s in self._streams}
        if "video" not in kinds:
            self._container.close()
            raise ClipError(address, Reason.NO_VIDEO, "no picture; live needs one")
        self.has_audio = "audio" in kinds

    def read(self, latest: Latest) -> None:
        """Put all into latest, in real time, until latest.stopped or the end. Raises ClipError."""
        import av

        start_s: float | None = None  # of the recording's clock
        began_s = time.monotonic()
        with self._container as container:
            recorded = bool(container.duration)  # else it comes as it happens
            packets = container.demux(self._streams)
            while not latest.stopped:
                try:
                    packet = next(packets)
                    frames = packet.decode()
                except StopIteration:
                    return
                except av.error.InvalidDataError:
                    continue  # a damaged packet
                except av.error.FFmpegError as e:
                    raise translate_error(self.address, e) from None
                for frame in frames:
                    shown_s = float(frame.time or 0.0)
                    start_s = shown_s if start_s is None else start_s
                    time_s = max(shown_s - start_s, 0.0)
                    due_s = began_s + time_s if recorded else 0.0
                    while not latest.stopped and (left_s := due_s - time.monotonic()) > 0:
                        time.sleep(min(left_s, 0.1))
                    if isinstance(frame, av.VideoFrame):
                        latest.put(frame, time_s)
                    else:
                        latest.put_sound(to_mono(frame), frame.sample_rate, time_s)


def open_source(name: str) -> Webcam | Stream:
    """A webcam by its number, else a stream. Raises ClipError."""
    return Webcam(int(name)) if name.isdecimal() else Stream(name)
