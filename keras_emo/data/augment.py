"""Augmentation, for training only: nothing here runs in validation, test or service."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import check_waveform, read_source
from keras_emo.features.mfcc import compute_mfcc, dct_matrix
from keras_emo.media.reader import ClipSource
from keras_emo.media.sound import resample
from keras_emo.spec import AudioSpec, ClipSpec, Range, check_ranges


@dataclass(frozen=True)
class WaveSpec:
    """Ranges for augmented versions of a clip's sound; each is drawn uniformly."""

    n_variants: int = 4
    stretch: tuple[float, float] = (0.85, 1.15)  # rate, above 1 is faster
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    gain_db: tuple[float, float] = (-8.0, 8.0)
    noise_snr_db: tuple[float, float] = (15.0, 45.0)
    shift_s: tuple[float, float] = (-0.3, 0.3)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("stretch", "pitch_semitones", "gain_db", "noise_snr_db", "shift_s"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name} is not a pair (low, high): {(low, high)}")
        check_ranges("wave settings", self, {"n_variants": Range(0)})
        if self.stretch[0] <= 0:
            raise ValueError(f"wave settings out of range: stretch is {self.stretch}, above 0")


def augment_clip(source: ClipSource, spec: ClipSpec, waves: WaveSpec, sample_id: str) -> np.ndarray:
    """MFCC of n_variants augmented versions, float32 (n_variants, n_mfcc, n_frames).

    The draws depend on the seed and the sample alone. Raises ClipError without usable sound.
    """
    longer = replace(spec.audio, duration_s=1.3 * spec.audio.duration_s)  # faster needs more
    media = read_source(source, replace(spec, audio=longer), ("voice",))
    waveform = check_waveform(media, spec.audio, source.path)
    if isinstance(waveform, Reason):
        raise ClipError(source.path, waveform, "no usable sound to augment")
    name = hashlib.sha256(f"{waves.seed}/{sample_id}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(name, np.uint32))
    rate_hz = spec.audio.sample_rate_hz
    versions = (augment_waveform(waveform, rate_hz, waves, rng) for _ in range(waves.n_variants))
    return np.stack([compute_mfcc(version, spec.audio) for version in versions])


def augment_waveform(
    waveform: np.ndarray, rate_hz: int, waves: WaveSpec, rng: np.random.Generator
) -> np.ndarray:
    """Stretched, shifted in pitch and time, louder or softer, with white noise.

    waveform: mono float32 (n,). Returns mono float32 of another length. Uses
    librosa.effects.time_stretch, and shifts the pitch as librosa.effects.pitch_shift does.
    """
    import librosa

    rate = float(rng.uniform(*waves.stretch))
    pitch = 2.0 ** (float(rng.uniform(*waves.pitch_semitones)) / 12)
    # One phase vocoder for both: stretched by rate / pitch, then played faster by pitch.
    y = librosa.effects.time_stretch(waveform, rate=rate / pitch)
    y = resample(y, round(rate_hz * pitch), rate_hz)
    shift = round(float(rng.uniform(*waves.shift_s)) * rate_hz)
    y = np.pad(y, (shift, 0)) if shift >= 0 else y[min(-shift, len(y) // 2) :]
    y = y * 10 ** (float(rng.uniform(*waves.gain_db)) / 20)
    power = float(np.mean(y**2))
    noise_power = power / 10 ** (float(rng.uniform(*waves.noise_snr_db)) / 10)
    return (y + rng.normal(0.0, np.sqrt(noise_power), len(y))).astype(np.float32)


class Draws:
    """Stateless draws for n rows of a batch, the same in one worker or several.

    rows: int32 (2,), the first of them and the size of the whole batch; None for a whole batch.
    """

    def __init__(self, n: Any, rows: Any = None):
        place: Any = (0, n) if rows is None else (rows[0], rows[1])
        self.n, (self.start, self.total) = n, place

    def uniform(self, shape: Sequence[Any], seed: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
        """(n, *shape) from low to below high; whole numbers where these are."""
        import tensorflow as tf

        kind = tf.int32 if isinstance(low, int) else tf.float32
        whole = tf.random.stateless_uniform([self.total, *shape], seed, low, high, kind)
        return whole[self.start : self.start + self.n]

    def normal(self, shape: Sequence[Any], seed: Any) -> Any:
        """(n, *shape) of mean 0 and deviation 1."""
        import tensorflow as tf

        whole = tf.random.stateless_normal([self.total, *shape], seed)
        return whole[self.start : self.start + self.n]


@dataclass(frozen=True)
class FaceChanges:
    """Ranges for face crops during training."""

    flip: bool = True
    scale: float = 0.12  # zoom in or out by up to this fraction
    shift: float = 0.06  # of the side, in both directions
    turn_deg: float = 10.0
    brightness: float = 0.2  # of the full range
    contrast: float = 0.25
    grey: float = 0.3  # chance that color is dropped
    aspect: float = 0.0  # wider or narrower by up to this fraction
    light: float = 0.0  # of the full range: how much light falls off from side to side
    erase: float = 0.3  # chance that a square is blanked


@dataclass(frozen=True)
class MfccChanges:
    """SpecAugment on MFCC: masked frames and coefficients take the clip's mean."""

    time_masks: int = 2
    time_width: int = 30  # frames at most
    coefficient_masks: int = 1
    coefficient_width: int = 4
    shift_frames: int = 20
    noise: float = 0.05  # of each coefficient's deviation
    time_scale: float = 0.0  # faster or slower by up to this fraction
    mel_scale: float = 0.0  # mel axis wider or narrower by up to this fraction: vocal tract length
    mel_shift: float = 0.0  # of the mel axis, up or down
    mel_mask: float = 0.0  # of the mel axis: a band of up to this width takes the clip's mean
    gain_db: float = 0.0  # louder or softer by up to this
    floor_db: float = 0.0  # background raised by up to this above the quietest level


WARPS = ("time_scale", "mel_scale", "mel_shift", "mel_mask", "gain_db", "floor_db")


def augment_faces(faces, seed, changes: FaceChanges, rows=None):
    """Augment faces inside tf.data: float32 (batch, height, width, 3), 0 to 255, as the result.

    seed: int32 (2,), decides everything. rows: of a larger batch, see Draws.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 9)
    side = tf.cast(tf.shape(faces)[1], tf.float32)
    draws = Draws(tf.shape(faces)[0], rows)

    def draw(i: int, low: float, high: float):
        return draws.uniform([], seeds[i], float(low), float(high))

    turn = draw(0, -1.0, 1.0) * changes.turn_deg * np.pi / 180
    zoom = 1.0 + draw(1, -changes.scale, changes.scale)
    mirror = tf.where(draw(2, 0.0, 1.0) < (0.5 if changes.flip else 0.0), -1.0, 1.0)
    shift_x, shift_y = (draw(i, -changes.shift, changes.shift) * side for i in (3, 4))
    cos, sin, center = tf.cos(turn) * zoom, tf.sin(turn) * zoom, (side - 1.0) / 2.0
    aspect = 1.0 + draw(7, -changes.aspect, changes.aspect)
    a0, a1, b0, b1 = cos * mirror * aspect, -sin, sin * mirror * aspect, cos
    a2 = center - (a0 + a1) * center + shift_x
    b2 = center - (b0 + b1) * center + shift_y
    zeros = tf.zeros_like(a0)
    faces = _project(faces, [a0, a1, a2, b0, b1, b2, zeros, zeros])
    tone = draws.uniform([4], seeds[5])
    contrast = 1.0 + (2.0 * tone[:, 0] - 1.0) * changes.contrast
    brightness = (2.0 * tone[:, 1] - 1.0) * changes.brightness * 255.0
    mean = tf.reduce_mean(faces, axis=[1, 2, 3], keepdims=True)
    faces = (faces - mean) * _spread(contrast) + mean + _spread(brightness)
    if changes.light:
        slope = draws.normal([2], seeds[8]) * changes.light * 128.0
        ramp = tf.linspace(-1.0, 1.0, tf.shape(faces)[1])
        across = ramp[None, None, :, None] * _spread(slope[:, 0])
        faces = faces + across + ramp[None, :, None, None] * _spread(slope[:, 1])
    grey = tf.image.rgb_to_grayscale(faces)
    faces = tf.where(_spread(tone[:, 2]) < changes.grey, tf.repeat(grey, 3, axis=3), faces)
    faces = _erase(faces, draws.uniform([4], seeds[6]), changes.erase)
    return tf.clip_by_value(faces, 0.0, 255.0)


def _project(images, parameters):
    """Each image as ImageProjectiveTransform moves it by its eight parameters; edges repeat."""
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(parameters, axis=1),
        output_shape=tf.shape(images)[1:3], fill_value=0.0, interpolation="BILINEAR",
        fill_mode="NEAREST",
    )  # fmt: skip


def _spread(values):
    """A number for each image of a batch (n, height, width, channels)."""
    return values[:, None, None, None]


def _erase(faces, draws, chance: float):
    """Blank one square a picture, a fifth to two fifths of the side (DeVries, arXiv:1708.04552).

    draws: float32 (batch, 4), 0 to 1: size, place and whether.
    """
    import tensorflow as tf

    side = tf.shape(faces)[1]
    positions = tf.linspace(0.0, 1.0, side)
    half = (0.1 + 0.1 * draws[:, 0])[:, None]
    inside_y = tf.abs(positions[None] - draws[:, 1, None]) < half
    inside_x = tf.abs(positions[None] - draws[:, 2, None]) < half
    square = inside_y[:, :, None] & inside_x[:, None, :] & (draws[:, 3] < chance)[:, None, None]
    mean = tf.reduce_mean(faces, axis=[1, 2], keepdims=True)
    return tf.where(square[..., None], mean, faces)


def warp_mel(mfcc, seed, changes: MfccChanges, spec: AudioSpec, rows=None):
    """Stretch sound in time and along the mel axis, change its level, raise its background.

    mfcc: float32 (batch, n_mfcc, n_frames); back to mel bands by the transposed DCT, exact where
    there are as many coefficients as bands. rows: see Draws. Returns the same shape.
    """
    import tensorflow as tf

    dct = tf.constant(dct_matrix(spec), tf.float32)  # (n_mfcc, n_mels)
    mel = tf.einsum("bct,cm->btm", mfcc, dct)[..., None]
    source = Draws(tf.shape(mfcc)[0], rows)
    draws = source.uniform([5], seed, -1.0, 1.0)
    slower, wider = 1.0 + draws[:, 0] * changes.time_scale, 1.0 + draws[:, 1] * changes.mel_scale
    shift = draws[:, 2] * changes.mel_shift * spec.n_mels
    zero = tf.zeros_like(shift)
    mel = _project(mel, [wider, zero, shift, zero, slower, zero, zero, zero])
    mel = mel + _spread(draws[:, 3] * changes.gain_db)
    lowest = tf.reduce_min(mel, axis=[1, 2, 3], keepdims=True)
    mel = tf.maximum(mel, lowest + _spread(tf.abs(draws[:, 4])) * changes.floor_db)
    band = source.uniform([2], seed + 1)
    places = tf.linspace(0.0, 1.0, spec.n_mels)[None]
    masked = tf.abs(places - band[:, :1]) < band[:, 1:] * changes.mel_mask / 2
    mean = tf.reduce_mean(mel, axis=[1, 2, 3], keepdims=True)
    mel = tf.where(masked[:, None, :, None], mean, mel)
    return tf.einsum("btm,cm->bct", mel[..., 0], dct)


def augment_mfcc(mfcc, seed, changes: MfccChanges, spec: AudioSpec, rows=None):
    """Augment a batch of MFCC inside tf.data: SpecAugment (arXiv:1904.08779), shift, noise.

    mfcc: float32 (batch, n_mfcc, n_frames). seed: int32 (2,). rows: of a larger batch, see
    Draws. Returns the same shape.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 5)
    if any(getattr(changes, name) for name in WARPS):
        mfcc = warp_mel(mfcc, seeds[4], changes, spec, rows)
    size, frames = tf.shape(mfcc)[1], tf.shape(mfcc)[2]
    source = Draws(tf.shape(mfcc)[0], rows)
    shift = source.uniform([1], seeds[0], -changes.shift_frames, changes.shift_frames + 1)
    index = tf.clip_by_value(tf.range(frames)[None] + shift, 0, frames - 1)
    mfcc = tf.gather(mfcc, index, axis=2, batch_dims=1)
    mean, variance = tf.nn.moments(mfcc, axes=[2], keepdims=True)
    noise = source.normal([size, frames], seeds[1])
    mfcc = mfcc + noise * tf.sqrt(variance + 1e-6) * changes.noise
    for axis, length, masks, width in (
        (2, frames, changes.time_masks, changes.time_width),
        (1, size, changes.coefficient_masks, changes.coefficient_width),
    ):
        if not masks:
            continue
        draws = source.uniform([masks, 2], seeds[1 + axis])
        start = draws[..., 0] * tf.cast(length, tf.float32)
        end = start + draws[..., 1] * float(width)
        steps = tf.cast(tf.range(length), tf.float32)
        masked = tf.reduce_any((steps >= start[..., None]) & (steps < end[..., None]), axis=1)
        mfcc = tf.where(masked[:, None, :] if axis == 2 else masked[:, :, None], mean, mfcc)
    return mfcc
