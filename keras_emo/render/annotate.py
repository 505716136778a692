"""A copy of a video with face, label and probabilities drawn in, its sound kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_emo.errors import ClipError, EnvironmentFailure, Reason, UsageError
from keras_emo.media.reader import OPEN_OPTIONS, check_file, read_media
from keras_emo.media.recording import Frame
from keras_emo.output import replace_file
from keras_emo.render.overlay import Annotations, draw

_TICKS_HZ = 30_000  # counts 24, 25, 30, 50, 60 and 29.97 frames a second exactly
_EVERY_FRAME_HZ = 240.0
_COPIED = ("aac", "mp3", "ac3")  # sound that an mp4 holds as it is
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AHEAD_S = 0.5  # sound goes this far before the picture


def write_annotated(source: Path, target: Path, notes: Annotations, threads: int = 1) -> None:
    """Write ``source`` with its annotations as an mp4: same size, rate and sound, upright.

    One more pass over the file, in constant memory. H.264, or MPEG-4 where PyAV lacks it; an
    odd side grows by a px. Sound is copied, or coded again as AAC. Raises ClipError where the
    source has no picture, UsageError where the target is the source, EnvironmentFailure.
    """
    import av

    source = check_file(source)
    if target.exists() and os.path.samefile(source, target):
        raise UsageError(target, Reason.BAD_CONFIG, "the source must not be written over")
    with (
        replace_file(target) as temporary,
        av.open(str(source), options=OPEN_OPTIONS, metadata_errors="replace") as sound_file,
    ):
        try:
            with av.open(str(temporary), "w", format="mp4") as out:
                _copy(source, sound_file, out, notes, threads)
        except av.error.FFmpegError as e:
            raise EnvironmentFailure(target, Reason.WRITE_FAILED, e.strerror or str(e)) from e


def _copy(source: Path, sound_file: Any, out: Any, notes: Annotations, threads: int) -> None:
    import av

    pictures, sounds = sound_file.streams.video, sound_file.streams.audio
    if not pictures:
        raise ClipError(source, Reason.NO_VIDEO, "no picture to draw on")
    starts_s = [_start_s(s) for s in (*pictures[:1], *sounds[:1])]
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


def _start_s(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


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
                _encode(packet, stream, resampler, out, base_s)
            yield time_s
        if not copied:
            for part in resampler.resample(None):
                out.mux(stream.encode(part))
            out.mux(stream.encode())

    return copy()


def _encode(packet: Any, stream: Any, resampler: Any, out: Any, base_s: float) -> None:
    import av

    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return  # damaged: the packets around it count
    for frame in frames:
        if frame.pts is not None:
            frame.pts = max(0, frame.pts - round(base_s / frame.time_base))
        for part in resampler.resample(frame):
            out.mux(stream.encode(part))
