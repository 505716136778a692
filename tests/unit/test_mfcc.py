from dataclasses import replace

import numpy as np
import pytest

from keras_emo.features import mfcc as audio
from keras_emo.features.mfcc import compute_mfcc, dct_matrix, hann_window, mel_filters
from keras_emo.spec import AudioSpec

SPEC = AudioSpec()
SPECS = {
    "default": SPEC,
    "16 kHz": AudioSpec(sample_rate_hz=16_000, n_fft=512, hop_length=160, n_mels=64, n_mfcc=13),
    "other hop": replace(SPEC, hop_length=700, duration_s=1.7, fmin_hz=50.0, fmax_hz=11_025.0),
}


def speech(spec: AudioSpec, seconds: float) -> np.ndarray:
    """Harmonics of a gliding pitch, weighed by three formants, in syllables and pauses."""
    t = np.arange(round(seconds * spec.sample_rate_hz)) / spec.sample_rate_hz
    pitch_hz = 140 + 30 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / spec.sample_rate_hz
    sound = np.zeros_like(t)
    for n in range(1, 40):
        weights = sum(
            np.exp(-(((n * pitch_hz - f) / w) ** 2))
            for f, w in ((600, 150), (1400, 250), (2600, 400))
        )
        sound += weights * np.sin(n * phase)
    envelope = np.maximum(0.0, np.sin(2 * np.pi * 2.5 * t)) ** 2
    return (0.2 * envelope * sound).astype(np.float32)


def signal(kind: str, spec: AudioSpec, make) -> np.ndarray:
    n = spec.n_samples
    rng = np.random.default_rng(0)
    if kind == "sine":
        return make.sine(spec.duration_s, spec.sample_rate_hz)
    if kind == "noise":
        return rng.normal(0, 0.1, n).astype(np.float32)
    if kind == "impulse":
        return np.eye(1, n, n // 3, dtype=np.float32)[0]
    if kind == "speech":
        return speech(spec, spec.duration_s)
    if kind == "short":
        return speech(spec, 0.4 * spec.duration_s)
    if kind == "long":
        return speech(spec, 1.5 * spec.duration_s)
    return np.zeros(n, np.float32)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("kind", ["sine", "noise", "silence", "impulse", "speech", "short", "long"])
def test_as_librosa(kind, spec, make):
    librosa = pytest.importorskip("librosa")
    waveform = signal(kind, spec, make)
    used = np.zeros(spec.n_samples, np.float32)
    used[: len(waveform)] = waveform[: spec.n_samples]
    expected = librosa.feature.mfcc(
        y=used,
        sr=spec.sample_rate_hz,
        n_mfcc=spec.n_mfcc,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.fmax_hz,
    )
    mfcc = compute_mfcc(waveform, spec)
    assert (mfcc.shape, mfcc.dtype) == (spec.shape, np.float32)
    np.testing.assert_allclose(mfcc, expected, rtol=0, atol=1e-3)


def test_default_shape_whatever_the_length(make):
    for seconds in (0.0, 0.01, 3.0, 5.0):
        assert compute_mfcc(make.sine(seconds), SPEC).shape == (20, 282)


def test_what_is_beyond_the_duration_does_not_count(make):
    waveform = make.sine(4.0)
    changed = waveform.copy()
    changed[SPEC.n_samples :] = 0.9
    np.testing.assert_array_equal(compute_mfcc(changed, SPEC), compute_mfcc(waveform, SPEC))
    changed[SPEC.n_samples - 1] = 0.9
    assert np.abs(compute_mfcc(changed, SPEC) - compute_mfcc(waveform, SPEC)).max() > 1


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_filters_as_librosa(spec):
    librosa = pytest.importorskip("librosa")
    full = librosa.filters.mel(
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.fmax_hz,
    )
    ours = mel_filters(spec)
    assert not full[:, ours.shape[1] :].any()
    np.testing.assert_allclose(ours, full[:, : ours.shape[1]], rtol=1e-5, atol=1e-8)


def test_dct_and_window_as_scipy():
    fft = pytest.importorskip("scipy.fft")
    windows = pytest.importorskip("scipy.signal")
    dct = fft.dct(np.eye(SPEC.n_mels), norm="ortho", axis=0)[: SPEC.n_mfcc]
    np.testing.assert_allclose(dct_matrix(SPEC), dct, atol=1e-12)
    window = windows.get_window("hann", SPEC.n_fft)
    np.testing.assert_allclose(hann_window(SPEC.n_fft), window, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_samples_are_refused(value, make):
    waveform = make.sine()
    waveform[-1] = value
    with pytest.raises(ValueError, match="non-finite"):
        compute_mfcc(waveform, SPEC)


def test_stereo_is_refused(make):
    with pytest.raises(ValueError, match=r"mono.*\(2, 48000\)"):
        compute_mfcc(np.stack([make.sine(), make.sine()]), SPEC)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("part", [0.001, 0.3, 0.97, 1.0, 1.2])
def test_what_lacks_is_silence(name, part):
    spec = SPECS[name]
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, round(part * spec.n_samples)).astype(np.float32)
    padded = np.pad(sound, (0, max(0, spec.n_samples - len(sound))))
    np.testing.assert_array_equal(compute_mfcc(sound, spec), compute_mfcc(padded, spec))


def test_products_are_multiplied_in_parts():
    rng = np.random.default_rng(0)
    for n, depth, width in ((1, 3, 2), (516, 342, 128), (7, 1 << 10, 1 << 9)):
        left, right = rng.normal(size=(n, depth)), rng.normal(size=(depth, width))
        np.testing.assert_allclose(audio._multiply(left, right), left @ right, atol=1e-9)
