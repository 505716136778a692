"""A clip that is in memory: frames and sound as numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from keras_emo.media.decode import SAMPLE_RATES_HZ, check_resolution
from keras_emo.media.recording import Media, OnFrame, SampleGrid, Streams, shrink_frame
from keras_emo.spec import ClipSpec, FaceSpec


@dataclass(frozen=True, eq=False)
class ArrayClip:
    """Frames at a fixed rate and a waveform, either may be absent.

    frames: RGB uint8 (height, width, 3) each, upright. fps: of the frames. waveform: float in
    [-1, 1] or int16, (n,) or (n, channels), at sample_rate Hz. Raises TypeError for a wrong type,
    ValueError for a wrong shape or range.
    """

    frames: Sequence[np.ndarray] | np.ndarray | None = None
    fps: float | None = None
    waveform: np.ndarray | None = None
    sample_rate: int | None = None
    path: ClassVar[Path] = Path("arrays")  # to name in messages

    def __post_init__(self) -> None:
        if self.frames is None and self.waveform is None:
            raise TypeError("a clip needs a path, frames or audio")
        if self.frames is not None:
            _check_number("fps", self.fps, 0.01, 1000.0)
            _check_frames(self.frames)
        if self.waveform is not None:
            _check_number("sample_rate", self.sample_rate, *SAMPLE_RATES_HZ)
            _check_waveform(self.waveform)


def read_arrays(
    clip: ArrayClip, spec: ClipSpec, modalities: Sequence[str], on_frame: OnFrame
) -> Media:
    """A clip in memory, sampled as reader.read_media samples a file. Raises ClipError."""
    frames, fps, rate_hz = clip.frames, clip.fps or 0.0, int(clip.sample_rate or 0)
    duration_s, cut, sound = 0.0, False, None
    if frames is not None:
        duration_s = len(frames) / fps
        if "face" in modalities:
            cut = _sample_frames(frames, fps, spec.face, on_frame)
    if clip.waveform is not None:
        duration_s = max(duration_s, len(clip.waveform) / rate_hz)
        sound = to_mono(clip.waveform[: round(spec.audio.duration_s * rate_hz)])
    streams = Streams(frames is not None, clip.waveform is not None)
    return Media((), sound, rate_hz, streams, duration_s, duration_s, cut=cut)


def _sample_frames(
    frames: Sequence[np.ndarray] | np.ndarray, fps: float, spec: FaceSpec, on_frame: OnFrame
) -> bool:
    """Pass on the frames that are due; whether there were more than the limit."""
    grid, n = SampleGrid(spec.frame_rate_hz, 1 / fps), 0
    for i, rgb in enumerate(frames):
        time_s = i / fps
        if not grid.is_due(time_s):
            continue
        if n == spec.max_frames:
            return True
        check_resolution(ArrayClip.path, rgb.shape[1], rgb.shape[0])
        n += 1
        grid.keep(time_s)
        on_frame(shrink_frame(np.ascontiguousarray(rgb), time_s, spec.decode_max_px))
    return False


def to_mono(waveform: np.ndarray) -> np.ndarray | None:
    """The mean of the channels, float32 (n,) in [-1, 1]; None without samples."""
    if not len(waveform):
        return None
    scale = 32768.0 if waveform.dtype == np.int16 else 1.0
    mono = waveform if waveform.ndim == 1 else waveform.mean(axis=1)
    return (mono / scale).astype(np.float32)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value}, allowed {low:g} to {high:g}")


def _check_frames(frames: Sequence[np.ndarray] | np.ndarray) -> None:
    accepted = "frames must be uint8 arrays (height, width, 3), in a list or as one array"
    if not isinstance(frames, np.ndarray | list | tuple):
        raise TypeError(f"{accepted}, got {type(frames).__name__}")
    if not len(frames):
        raise ValueError("frames is empty")
    for frame in frames:
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
            raise TypeError(f"{accepted}, got {getattr(frame, 'dtype', type(frame).__name__)}")
        if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"{accepted}, got the shape {frame.shape}")


def _check_waveform(waveform: np.ndarray) -> None:
    accepted = "audio must be a float or int16 array, (n,) or (n, channels)"
    if not isinstance(waveform, np.ndarray):
        raise TypeError(f"{accepted}, got {type(waveform).__name__}")
    if waveform.dtype.kind != "f" and waveform.dtype != np.int16:
        raise TypeError(f"{accepted}, got {waveform.dtype}")
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and not 1 <= waveform.shape[1] <= 64):
        raise ValueError(f"{accepted}, got the shape {waveform.shape}")
