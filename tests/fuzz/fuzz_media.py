"""Recordings; contract: what could be decoded, or ClipError.

The first byte selects the suffix and how the file is read. Seeds are generated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from mutation import mutate_bytes, mutate_one_of

from keras_emo.errors import ClipError
from keras_emo.media.reader import open_media, read_image, read_media
from keras_emo.media.recording import Frame, Media

FOLDER = Path(tempfile.mkdtemp())
SUFFIXES = (".mp4", ".mkv", ".avi", ".wav", ".flac", ".ogg", ".mp3", ".png")
# container, its picture and its sound
KINDS = (
    (".mp4", "libx264", "aac"), (".mp4", "mpeg4", "mp3"), (".mkv", "libx264", "flac"),
    (".mkv", "libvpx", "libopus"), (".avi", "mpeg4", "pcm_s16le"), (".wav", None, "pcm_s16le"),
    (".wav", None, "pcm_f32le"), (".flac", None, "flac"), (".ogg", None, "libopus"),
    (".mp3", None, "libmp3lame"), (".png", "png", None),
)  # fmt: skip
N_FRAMES, SIDE_PX, RATE_HZ = 4, 32, 16_000
MOST_FRAMES, MOST_S = 8, 2.0
FORMATS = {"png": "rgb24"}

mutate = mutate_one_of((mutate_bytes,))
av.logging.set_level(None)


def make_seeds() -> Iterator[bytes]:
    for suffix, picture, sound in KINDS:
        data = _record(suffix, picture, sound)
        which = SUFFIXES.index(suffix)
        yield bytes([which]) + data
        yield bytes([which | 0x80]) + data[: len(data) * 2 // 3]


def _record(suffix: str, picture: str | None, sound: str | None) -> bytes:
    path = FOLDER / f"seed{suffix}"
    n_frames, options = (1, {"format": "image2"}) if suffix == ".png" else (N_FRAMES, {})
    with av.open(str(path), "w", **options) as container:
        streams: list[tuple[Any, list[Any]]] = []
        if picture:
            video = container.add_stream(picture, rate=8)
            video.width = video.height = SIDE_PX
            video.pix_fmt = FORMATS.get(picture, "yuv420p")
            grays = np.arange(n_frames, dtype=np.uint8) * 40
            pictures = [np.full((SIDE_PX, SIDE_PX, 3), gray) for gray in grays]
            streams.append((video, [av.VideoFrame.from_ndarray(rgb) for rgb in pictures]))
        if sound:
            audio = container.add_stream(sound, rate=RATE_HZ, layout="mono")
            noise = np.random.default_rng(0).normal(0, 0.1, (1, RATE_HZ // 8)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(noise, format="flt", layout="mono")
            block.sample_rate = RATE_HZ
            streams.append((audio, [block]))
        for stream, frames in streams:
            for i, frame in enumerate(frames):
                frame.pts = i
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path.read_bytes()


def attack(data: bytes) -> None:
    if len(data) < 2:
        return
    choice = data[0]
    path = FOLDER / f"given{SUFFIXES[choice % len(SUFFIXES)]}"
    path.write_bytes(data[1:])
    with suppress(ClipError):
        if path.suffix == ".png":
            rgb = read_image(path)
            assert rgb.dtype == np.uint8
            assert rgb.shape[2] == 3
        elif choice & 0x80:
            frames: list[Frame] = []
            blocks: list[np.ndarray] = []
            with open_media(path, 3.0, MOST_FRAMES, MOST_S, max_px=16) as decoding:
                for _ in decoding.run(frames.append, lambda block, *_: blocks.append(block)):
                    pass
                _check(replace(decoding.media, frames=tuple(frames)))
            assert all(b.dtype == np.float32 and b.ndim == 1 for b in blocks)
        else:
            _check(read_media(path, 3.0, MOST_FRAMES, MOST_S))


def _check(media: Media) -> None:
    assert len(media.frames) <= MOST_FRAMES
    assert all(f.rgb.dtype == np.uint8 and f.rgb.shape[2] == 3 for f in media.frames)
    assert np.isfinite([f.time_s for f in media.frames]).all()
    assert np.isfinite([media.duration_s, media.missing_s]).all()
    assert media.damaged_packets >= 0
    if media.waveform is not None:
        assert media.waveform.dtype == np.float32
        assert media.waveform.ndim == 1
        assert len(media.waveform) <= MOST_S * media.sample_rate_hz + 1
