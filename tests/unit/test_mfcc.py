from dataclasses import replace

import numpy as np
import pytest

from keras_emo.features.mfcc import compute_mfcc
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
    return {
        "silence": lambda: np.zeros(n, np.float32),
        "nothing": lambda: np.zeros(0, np.float32),
        "sine": lambda: make.sine(spec.duration_s, spec.sample_rate_hz),
        "noise": lambda: np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32),
        "impulse": lambda: np.eye(1, n, n // 3, dtype=np.float32)[0],
        "speech": lambda: speech(spec, spec.duration_s),
        "short": lambda: speech(spec, 0.4 * spec.duration_s),
        "long": lambda: speech(spec, 1.5 * spec.duration_s),
    }[kind]()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(
    "kind", ["silence", "nothing", "sine", "noise", "impulse", "speech", "short", "long"]
)
def test_as_librosa(kind, spec, make):
    librosa = pytest.importorskip("librosa")
    waveform = signal(kind, spec, make)
    names = {"sample_rate_hz": "sr", "fmin_hz": "fmin", "fmax_hz": "fmax"}
    same = ("n_fft", "hop_length", "n_mels", "n_mfcc")
    settings = {names.get(n, n): getattr(spec, n) for n in (*names, *same)}
    used = librosa.util.fix_length(waveform, size=spec.n_samples)
    expected = librosa.feature.mfcc(y=used, **settings)
    mfcc = compute_mfcc(waveform, spec)
    assert (mfcc.shape, mfcc.dtype) == (spec.shape, np.float32)
    np.testing.assert_allclose(mfcc, expected, rtol=0, atol=1e-3)


def test_what_is_no_mono_sound_is_refused(make):
    with pytest.raises(ValueError, match=r"mono.*\(2, 48000\)"):
        compute_mfcc(np.stack([make.sine(), make.sine()]), SPEC)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="non-finite"):
            compute_mfcc(np.append(make.sine(), np.float32(value)), SPEC)
