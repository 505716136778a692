"""A copy of a video with face, label and probabilities drawn in, and with its sound."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_emo.errors import ClipError, EnvironmentFailure, Reason, translate_errors
from keras_emo.features.face import Box
from keras_emo.inference.predict import TrackedWindow
from keras_emo.inference.results import Probs, Timeline
from keras_emo.inference.segments import find_edges
from keras_emo.io import replace_file
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import OPEN_OPTIONS, check_file, read_media
from keras_emo.media.recording import Frame
from keras_emo.render.chart import COLORS, INK, PAPER, write_text
from keras_emo.render.writers import NOTHING

_TICKS_HZ = 30_000  # counts 24, 25, 30, 50, 60 and 29.97 frames a second exactly
_EVERY_FRAME_HZ = 240.0
_COPIED = ("aac", "mp3", "ac3")  # codecs that an mp4 can hold as they are
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AHEAD_S = 0.5  # sound is written this far ahead of the frames
_HELD_S = 0.75  # a face is drawn this long before and after it was detected


class FaceTrail:
    """Where the face was, frame by frame, from the window that represents each time."""

    def __init__(self, window_s: float, hop_s: float):
        self._from_s = (window_s - hop_s) / 2  # from a window's start to what it represents
        self._rows = array("d")  # time_s and box of each sampled frame
        self._first = True

    def add(self, window: TrackedWindow) -> None:
        """Add the next window; from its middle on it replaces those before."""
        from_s = -np.inf if self._first else window.start_s + self._from_s
        self._first = False
        while len(self._rows) and self._rows[-5] >= from_s:
            del self._rows[-5:]
        for time_s, box in zip(window.times_s.tolist(), window.boxes.tolist(), strict=True):
            if time_s >= from_s:
                self._rows.extend((time_s, *box))

    def table(self) -> np.ndarray:
        """float64 (n, 5): time in s, x, y, width, height in px of the upright picture."""
        return np.array(self._rows, np.float64).reshape(-1, 5)


class Annotations:
    """What to draw at each time of a recording."""

    def __init__(self, timeline: Timeline, trail: FaceTrail):
        self._windows, self._segments = timeline.windows, timeline.segments
        self._edges_s = find_edges(
            len(timeline.windows), timeline.window_s, timeline.hop_s, timeline.end_s
        )
        self._starts_s = np.array([s.start_s for s in timeline.segments])
        self._faces = trail.table()

    def find_probs(self, time_s: float) -> Probs | None:
        """The probabilities of the window that represents a time, None where it abstains."""
        i = int(np.searchsorted(self._edges_s, time_s, "right")) - 1
        return self._windows[min(max(i, 0), len(self._windows) - 1)].probs

    def find_label(self, time_s: float) -> str | None:
        """The label of the segment at a time."""
        i = int(np.searchsorted(self._starts_s, time_s, "right")) - 1
        return self._segments[max(i, 0)].label if self._segments else None

    def find_box(self, time_s: float) -> Box | None:
        """The face, between the two nearest frames with one; None far from any."""
        low, high = np.searchsorted(self._faces[:, 0], (time_s - _HELD_S, time_s + _HELD_S))
        times_s, *sides = self._faces[low:high].T
        if not len(times_s):
            return None
        x, y, width, height = (float(np.interp(time_s, times_s, side)) for side in sides)
        return x, y, width, height


def write_annotated(
    source: Path, target: Path, timeline: Timeline, trail: FaceTrail, threads: int = 1
) -> None:
    """Write ``source`` with its timeline drawn in as an mp4: same size, rate and sound, upright.

    One more pass over the file, in constant memory. H.264, or MPEG-4 where PyAV lacks it; an
    odd side grows by a px. Sound is copied, or encoded again as AAC. target: another file than
    source. Raises ClipError if the source has no picture, EnvironmentFailure.
    """
    import av

    source = check_file(source)
    with (
        replace_file(target) as temporary,
        av.open(str(source), options=OPEN_OPTIONS, metadata_errors="replace") as sound_file,
    ):
        failure = EnvironmentFailure, target, Reason.WRITE_FAILED, av.error.FFmpegError
        with translate_errors(*failure), av.open(str(temporary), "w", format="mp4") as out:
            _copy(source, sound_file, out, Annotations(timeline, trail), threads)


def _copy(source: Path, sound_file: Any, out: Any, notes: Annotations, threads: int) -> None:
    import av

    pictures, sounds = sound_file.streams.video, sound_file.streams.audio
    if not pictures:
        raise ClipError(source, Reason.NO_VIDEO, "no picture to draw on")
    starts_s = [float((s.start_time or 0) * s.time_base) for s in (*pictures[:1], *sounds[:1])]
    delay_s = starts_s[0] - min(starts_s)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    rate = pictures[0].average_rate or pictures[0].guessed_rate or Fraction(30)
    video = out.add_stream(codec, rate=rate)
    video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, _TICKS_HZ)
    video.codec_context.thread_count = threads
    video.options = {"preset": "veryfast", "crf": "20"} if codec == "libx264" else {"qscale": "3"}
    sound = _copy_sound(sound_file, sounds, out, min(starts_s))
    sound_s, last = -np.inf, -1

    def on_frame(sampled: Frame) -> None:
        nonlocal sound_s, last
        rgb, time_s = sampled.rgb, sampled.time_s
        draw(rgb, time_s, notes)
        rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), "edge")
        if last < 0:
            video.height, video.width = rgb.shape[:2]
        elif rgb.shape[:2] != (video.height, video.width):
            rgb = cv2.resize(rgb, (video.width, video.height), interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.time_base = Fraction(1, _TICKS_HZ)
        frame.pts = last = max(last + 1, round((time_s + delay_s) * _TICKS_HZ))
        out.mux(video.encode(frame))
        while sound_s < time_s + delay_s + _AHEAD_S:
            sound_s = next(sound, np.inf)

    read_media(source, _EVERY_FRAME_HZ, 1 << 31, 0.0, threads, on_frame)
    out.mux(video.encode())
    for _ in sound:
        pass


def _copy_sound(sound_file: Any, sounds: Sequence[Any], out: Any, base_s: float) -> Iterator[float]:
    """Adds the stream at once; then copies packet by packet, yielding how far it is in s."""
    import av

    given = next((s for s in sounds if s.codec_context is not None), None)
    if given is None:
        return iter(())
    copied = given.codec_context.name in _COPIED
    if copied:
        stream = out.add_stream_from_template(given)
    else:
        layout = "mono" if given.codec_context.channels == 1 else "stereo"
        near = min(_AAC_RATES_HZ, key=lambda hz: abs(hz - (given.sample_rate or 48_000)))
        stream = out.add_stream("aac", rate=near, layout=layout)
        resampler = av.AudioResampler("fltp", layout, near)

    def copy() -> Iterator[float]:
        packets = sound_file.demux(given)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                break
            if packet.dts is None:
                continue
            time_s = float(packet.dts * packet.time_base) - base_s
            if copied:
                shift = round(base_s / packet.time_base)
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                packet.stream = stream
                out.mux(packet)
            else:
                frames: list[Any] = []
                with suppress(av.error.FFmpegError):  # damaged: the packets around it count
                    frames = packet.decode()
                for frame in frames:
                    if frame.pts is not None:
                        frame.pts = max(0, frame.pts - round(base_s / frame.time_base))
                    for part in resampler.resample(frame):
                        out.mux(stream.encode(part))
            yield time_s
        if not copied:
            for part in resampler.resample(None):
                out.mux(stream.encode(part))
            out.mux(stream.encode())

    return copy()


def draw(rgb: np.ndarray, time_s: float, notes: Annotations) -> None:
    """Draw on an upright picture, RGB uint8 (height, width, 3), in place."""
    probs, label = notes.find_probs(time_s), notes.find_label(time_s)
    scale = min(max(rgb.shape[0] / 720, 0.4), 2.5)
    line_px = max(1, round(2 * scale))
    text = NOTHING if probs is None or label is None else f"{label} {probs[label]:.2f}"
    color = COLORS.get(label or "", PAPER)
    box = notes.find_box(time_s)
    at = round(12 * scale), round(36 * scale)
    if box is not None:
        x, y, width, height = (round(v) for v in box)
        cv2.rectangle(rgb, (x, y), (x + width, y + height), INK, line_px + 2)
        cv2.rectangle(rgb, (x, y), (x + width, y + height), color, line_px)
        at = max(x, 4), max(y - round(10 * scale), round(28 * scale))
    write_text(rgb, text, at, scale, INK, line_px + 3)
    write_text(rgb, text, at, scale, color, line_px)
    if probs is not None:
        _draw_bars(rgb, probs, scale)


def _draw_bars(rgb: np.ndarray, probs: Probs, scale: float) -> None:
    row, name_px, bar_px = round(26 * scale), round(120 * scale), round(150 * scale)
    top = max(0, rgb.shape[0] - row * len(EMOTIONS) - round(10 * scale))
    corner = rgb[top:, : name_px + bar_px + round(20 * scale)]
    corner //= 3  # darkened, so that the text is legible on any picture
    for i, name in enumerate(EMOTIONS):
        y, left = top + row * i + round(5 * scale), name_px
        write_text(rgb, name, (round(8 * scale), y + round(16 * scale)), 0.6 * scale, PAPER)
        end = left + max(1, round(bar_px * probs[name]))
        cv2.rectangle(rgb, (left, y), (end, y + round(18 * scale)), COLORS[name], cv2.FILLED)
