"""Recordings; contract: what could be decoded, or ClipError.

The first byte selects the suffix and how the file is read. Seeds are generated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

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
    path, rng = FOLDER / f"seed{suffix}", np.random.default_rng(0)
    options = {"format": "image2"} if suffix == ".png" else {}
    with av.open(str(path), "w", **options) as container:
        if picture:
            video = container.add_stream(picture, rate=8)
            video.width = video.height = SIDE_PX
            video.pix_fmt = FORMATS.get(picture, "yuv420p")
        if sound:
            audio = container.add_stream(sound, rate=RATE_HZ, layout="mono")
        if picture:
            for i in range(N_FRAMES if suffix != ".png" else 1):
                rgb = np.full((SIDE_PX, SIDE_PX, 3), 40 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 8)
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if sound:
            noise = rng.normal(0, 0.1, (1, RATE_HZ // 8)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(noise, format="flt", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            container.mux(audio.encode(block))
            container.mux(audio.encode())
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
