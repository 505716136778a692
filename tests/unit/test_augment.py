from dataclasses import replace

import numpy as np
import pytest

from keras_emo.data.augment import (
    FaceChanges,
    MfccChanges,
    WaveSpec,
    augment_clip,
    augment_faces,
    augment_mfcc,
    augment_waveform,
)
from keras_emo.data.pipeline import class_weights
from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import prepare_clip
from keras_emo.media.reader import ClipSource
from keras_emo.spec import AudioSpec, ClipSpec

RATE_HZ = 16_000
SPEC = ClipSpec(audio=AudioSpec(sample_rate_hz=RATE_HZ, duration_s=1.0, fmax_hz=4000.0, n_fft=1024))
WAVES = WaveSpec(n_variants=2)
STILL = WaveSpec(
    1, stretch=(1, 1), pitch_semitones=(0, 0), gain_db=(0, 0), noise_snr_db=(90, 90),
    shift_s=(0, 0),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _needs_librosa():
    pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def wav(make, tmp_path_factory):
    path = tmp_path_factory.mktemp("augment") / "a.wav"
    return ClipSource(audio=make.wav(path, make.sine(1.5, RATE_HZ), RATE_HZ))


def vary(waves: WaveSpec, sound: np.ndarray, seed: int = 0) -> np.ndarray:
    return augment_waveform(sound, RATE_HZ, waves, np.random.default_rng(seed))


def peak_hz(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * RATE_HZ / len(sound))


def test_variants_depend_on_seed_and_take_alone(wav, make, tmp_path):
    first = augment_clip(wav, SPEC, WAVES, "savee/DC/a01")
    assert (first.shape, first.dtype) == ((2, *SPEC.audio.shape), np.float32)
    assert np.isfinite(first).all()
    np.random.seed(5)  # the global generator has no say
    np.testing.assert_array_equal(augment_clip(wav, SPEC, WAVES, "savee/DC/a01"), first)
    copy = ClipSource(audio=make.wav(tmp_path / "b.wav", make.sine(1.5, RATE_HZ), RATE_HZ))
    np.testing.assert_array_equal(augment_clip(copy, SPEC, WAVES, "savee/DC/a01"), first)
    for other in (
        augment_clip(wav, SPEC, WAVES, "savee/DC/a02"),
        augment_clip(wav, SPEC, replace(WAVES, seed=1), "savee/DC/a01"),
        first[::-1],
    ):
        assert np.abs(other - first).mean() > 0.1


def test_more_variants_begin_with_the_same(wav):
    few = augment_clip(wav, SPEC, WAVES, "a")
    more = augment_clip(wav, SPEC, replace(WAVES, n_variants=3), "a")
    np.testing.assert_array_equal(more[:2], few)


def test_no_change_gives_the_clip_itself(wav, make):
    own = prepare_clip(wav, SPEC, make.detector([])).mfcc
    np.testing.assert_allclose(augment_clip(wav, SPEC, STILL, "a")[0], own, atol=3)


@pytest.mark.parametrize(("rate", "length"), [(0.8, 1.25), (1.25, 0.8)])
def test_stretch_changes_length_and_keeps_pitch(rate, length, make):
    sound = make.sine(1.0, RATE_HZ)
    changed = vary(replace(STILL, stretch=(rate, rate)), sound)
    assert len(changed) == pytest.approx(length * RATE_HZ, rel=0.01)
    assert peak_hz(changed) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("semitones", [-2, 2, 12])
def test_pitch_changes_pitch_and_keeps_length(semitones, make):
    sound = make.sine(1.0, RATE_HZ)
    changed = vary(replace(STILL, pitch_semitones=(semitones, semitones)), sound)
    assert len(changed) == pytest.approx(RATE_HZ, rel=0.01)
    assert peak_hz(changed) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


def test_shift_moves_the_start(make):
    sound = make.sine(1.0, RATE_HZ)
    later = vary(replace(STILL, shift_s=(0.3, 0.3)), sound)
    assert len(later) == 1.3 * RATE_HZ
    assert np.abs(later[:4000]).max() < 1e-3
    sooner = vary(replace(STILL, shift_s=(-0.3, -0.3)), sound)
    np.testing.assert_allclose(sooner, vary(STILL, sound)[4800:], atol=1e-3)
    assert len(vary(replace(STILL, shift_s=(-9, -9)), sound)) == RATE_HZ // 2  # never all of it


def test_gain_and_noise(make):
    sound = make.sine(1.0, RATE_HZ)
    louder = vary(replace(STILL, gain_db=(6, 6)), sound)
    assert np.std(louder) == pytest.approx(np.std(sound) * 10 ** (6 / 20), rel=0.02)
    noisy = vary(replace(STILL, noise_snr_db=(20, 20)), sound)
    noise = noisy - vary(STILL, sound)
    assert np.std(noise) == pytest.approx(np.std(sound) / 10, rel=0.05)
    assert noisy.dtype == np.float32


def test_clip_without_sound_is_refused(make, tmp_path):
    silent = make.wav(tmp_path / "a.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(ClipError) as caught:
        augment_clip(ClipSource(audio=silent), SPEC, WAVES, "a")
    assert caught.value.reason is Reason.SILENT_AUDIO


def test_class_weights_even_out():
    labels = np.array([0] * 6 + [1] * 3 + [6])
    weights = class_weights(labels)
    assert (weights.shape, weights.dtype) == ((7,), np.float32)
    totals = np.bincount(labels, weights[labels], minlength=7)
    np.testing.assert_allclose(totals[[0, 1, 6]], 10 / 3, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    assert np.isfinite(class_weights(np.zeros(0, int))).all()


def test_slices_are_changed_as_in_the_whole_batch():
    tf = pytest.importorskip("tensorflow")
    rng, seed = np.random.default_rng(0), tf.constant([3, 5])
    faces = rng.uniform(0, 255, (10, 24, 24, 3)).astype(np.float32)
    spec = AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
    mfcc = rng.normal(0, 20, (10, *spec.shape)).astype(np.float32)
    warps = MfccChanges(
        time_scale=0.1, mel_scale=0.1, mel_shift=0.1, mel_mask=0.2, gain_db=3.0, floor_db=3.0
    )
    for whole, change in (
        (faces, lambda x, rows: augment_faces(x, seed, FaceChanges(light=0.3, aspect=0.1), rows)),
        (mfcc, lambda x, rows: augment_mfcc(x, seed, warps, spec, rows)),
    ):
        changed = change(tf.constant(whole), None).numpy()
        assert np.abs(changed - whole).max() > 1
        for first, end in ((0, 3), (3, 7), (7, 10)):
            part = change(tf.constant(whole[first:end]), tf.constant([first, 10])).numpy()
            np.testing.assert_allclose(part, changed[first:end], atol=1e-4)
