"""Waveform to MFCC, as librosa.feature.mfcc computes it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from keras_emo.spec import AudioSpec

AMIN = 1e-10  # librosa.power_to_db
_BLOCK = 32  # windows transformed at a time
_ALONE = 1 << 18  # products of two numbers up to which OpenBLAS multiplies in one thread


def compute_mfcc(waveform: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """MFCC of the first spec.duration_s of sound.

    waveform: mono float32 (n,) at spec.sample_rate_hz; shorter ones are padded with silence.
    Returns float32 (n_mfcc, n_frames), about -1131 to 300, not normalized: the network carries
    its own normalization. Matches librosa.feature.mfcc (power mel, Slaney scale and area norm,
    centered Hann windows with zero padding, dB re 1 with top_db, orthonormal DCT-II) to 1e-3.
    Raises ValueError on non-finite samples or a shape that is not mono.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a mono waveform (n,), got shape {waveform.shape}")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform has non-finite samples")
    mel, dct = mel_filters(spec), dct_matrix(spec)
    power = _compute_power(waveform[: spec.n_samples], spec, mel.shape[1])
    energy = _multiply(power, mel.T)  # (n_frames, n_mels)
    # float64 from here: coefficients of silence reach -1131, where float32 sums lose 1e-3
    decibel = 10.0 * np.log10(np.maximum(energy, AMIN, dtype=np.float64))
    decibel = np.maximum(decibel, decibel.max() - spec.top_db)
    return np.ascontiguousarray(_multiply(decibel, dct.T).T, dtype=np.float32)


def _compute_power(waveform: np.ndarray, spec: AudioSpec, n_bins: int) -> np.ndarray:
    """Power spectrogram float32 (spec.n_frames, n_bins), lowest bins, centered windows."""
    around = spec.n_fft // 2, spec.n_fft // 2 + spec.n_samples - len(waveform)
    padded = np.pad(waveform.astype(np.float32, copy=False), around)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop_length]
    power = np.zeros((len(windows), n_bins), np.float32)
    # windows after the sound are left at 0; a few at a time stay in the processor's cache
    n_covered = min(len(windows), -(-(len(waveform) + spec.n_fft // 2) // spec.hop_length))
    for start in range(0, n_covered, _BLOCK):
        end = min(start + _BLOCK, n_covered)
        spectrum = np.fft.rfft(windows[start:end] * hann_window(spec.n_fft), axis=1)[:, :n_bins]
        power[start:end] = spectrum.real**2 + spectrum.imag**2
    return power


def _multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, in parts so small that BLAS starts no threads for them.

    They take longer than the product does: each keeps a core busy for tens of ms afterwards.
    """
    n_rows = max(1, _ALONE // right.size)
    parts = range(0, len(left), n_rows)
    return np.concatenate([left[start : start + n_rows] @ right for start in parts])


@lru_cache(maxsize=8)
def hann_window(n: int) -> np.ndarray:
    """Periodic Hann window, float32 (n,), as scipy.signal.get_window('hann', n)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(spec: AudioSpec) -> np.ndarray:
    """Triangular filters as librosa.filters.mel (Slaney), float32 (n_mels, n_bins).

    Only the bins up to fmax_hz are kept: the rest weigh nothing.
    """
    bins_hz = np.fft.rfftfreq(spec.n_fft, 1.0 / spec.sample_rate_hz)
    low, high = _hz_to_mel(np.array([spec.fmin_hz, spec.fmax_hz]))
    edges_hz = _mel_to_hz(np.linspace(low, high, spec.n_mels + 2))
    width_hz = np.diff(edges_hz)
    ramps = edges_hz[:, None] - bins_hz[None, :]
    rising = -ramps[:-2] / width_hz[:-1, None]
    falling = ramps[2:] / width_hz[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    n_bins = int(np.flatnonzero(weights.any(axis=0))[-1]) + 1
    return np.ascontiguousarray(weights[:, :n_bins], dtype=np.float32)


@lru_cache(maxsize=8)
def dct_matrix(spec: AudioSpec) -> np.ndarray:
    """Orthonormal DCT-II, float64 (n_mfcc, n_mels), as scipy.fft.dct(norm='ortho')."""
    n, k = np.arange(spec.n_mels), np.arange(spec.n_mfcc)[:, None]
    matrix: np.ndarray = np.cos(np.pi * k * (2 * n + 1) / (2 * spec.n_mels))
    matrix *= np.sqrt(2.0 / spec.n_mels)
    matrix[0] /= np.sqrt(2.0)
    return matrix


# Slaney's scale: linear below 1 kHz, logarithmic above.
_MEL_STEP_HZ = 200.0 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _MEL_STEP_HZ
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    log_part = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _MEL_STEP_HZ, log_part)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    log_part = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _MEL_STEP_HZ, log_part)
