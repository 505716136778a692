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
    warp_mel,
)
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


def change_sound(waves: WaveSpec, sound: np.ndarray, seed: int = 0) -> np.ndarray:
    return augment_waveform(sound, RATE_HZ, waves, np.random.default_rng(seed))


def test_variants_depend_on_seed_and_sample_alone(wav, make, tmp_path):
    first = augment_clip(wav, SPEC, WAVES, "savee/DC/a01")
    assert (first.shape, first.dtype) == ((2, *SPEC.audio.shape), np.float32)
    assert np.isfinite(first).all()
    np.random.seed(5)  # the global generator has no say
    np.testing.assert_array_equal(augment_clip(wav, SPEC, WAVES, "savee/DC/a01"), first)
    copy = ClipSource(audio=make.wav(tmp_path / "b.wav", make.sine(1.5, RATE_HZ), RATE_HZ))
    np.testing.assert_array_equal(augment_clip(copy, SPEC, WAVES, "savee/DC/a01"), first)
    more = augment_clip(wav, SPEC, replace(WAVES, n_variants=3), "savee/DC/a01")
    np.testing.assert_array_equal(more[:2], first)
    for other in (
        augment_clip(wav, SPEC, WAVES, "savee/DC/a02"),
        augment_clip(wav, SPEC, replace(WAVES, seed=1), "savee/DC/a01"),
        first[::-1],
    ):
        assert np.abs(other - first).mean() > 0.1


def test_no_change_gives_the_clip_itself(wav, make):
    own = prepare_clip(wav, SPEC, make.detector([])).mfcc
    np.testing.assert_allclose(augment_clip(wav, SPEC, STILL, "a")[0], own, atol=3)


@pytest.mark.parametrize(
    ("change", "length", "pitch_hz"),
    [
        ({"stretch": (0.8, 0.8)}, 1.25, 440),
        ({"stretch": (1.25, 1.25)}, 0.8, 440),
        ({"pitch_semitones": (-2, -2)}, 1, 440 * 2 ** (-2 / 12)),
        ({"pitch_semitones": (12, 12)}, 1, 880),
    ],
)
def test_stretch_keeps_the_pitch_and_pitch_the_length(change, length, pitch_hz, make):
    changed = change_sound(replace(STILL, **change), make.sine(1.0, RATE_HZ))
    assert len(changed) == pytest.approx(length * RATE_HZ, rel=0.01)
    peak_hz = np.abs(np.fft.rfft(changed)).argmax() * RATE_HZ / len(changed)
    assert peak_hz == pytest.approx(pitch_hz, rel=0.01)


def test_shift_moves_the_start(make):
    sound = make.sine(1.0, RATE_HZ)
    later = change_sound(replace(STILL, shift_s=(0.3, 0.3)), sound)
    assert len(later) == 1.3 * RATE_HZ
    assert np.abs(later[:4000]).max() < 1e-3
    sooner = change_sound(replace(STILL, shift_s=(-0.3, -0.3)), sound)
    np.testing.assert_allclose(sooner, change_sound(STILL, sound)[4800:], atol=1e-3)
    half = change_sound(replace(STILL, shift_s=(-9, -9)), sound)
    assert len(half) == RATE_HZ // 2  # never all of it


def test_gain_and_noise(make):
    sound = make.sine(1.0, RATE_HZ)
    louder = change_sound(replace(STILL, gain_db=(6, 6)), sound)
    assert np.std(louder) == pytest.approx(np.std(sound) * 10 ** (6 / 20), rel=0.02)
    noisy = change_sound(replace(STILL, noise_snr_db=(20, 20)), sound)
    noise = noisy - change_sound(STILL, sound)
    assert np.std(noise) == pytest.approx(np.std(sound) / 10, rel=0.05)
    assert noisy.dtype == np.float32


def test_clip_without_sound_is_refused(make, tmp_path):
    silent = make.wav(tmp_path / "a.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(ClipError) as caught:
        augment_clip(ClipSource(audio=silent), SPEC, WAVES, "a")
    assert caught.value.reason is Reason.SILENT_AUDIO


tensorflow = pytest.mark.tensorflow
SIDE = 64
NO_CHANGE = FaceChanges(False, scale=0, shift=0, turn_deg=0, brightness=0, contrast=0, grey=0,
                        erase=0)  # fmt: skip
NO_MFCC_CHANGE = MfccChanges(time_masks=0, coefficient_masks=0, shift_frames=0, noise=0)


def change_faces(faces: np.ndarray, **changes) -> np.ndarray:
    return augment_faces(faces, np.array([3, 4], np.int32), replace(NO_CHANGE, **changes)).numpy()


def change_mfcc(mfcc: np.ndarray, **changes) -> np.ndarray:
    seed = np.array([3, 4], np.int32)
    return augment_mfcc(mfcc, seed, replace(NO_MFCC_CHANGE, **changes), AudioSpec()).numpy()


def measure_geometry(n: int, **changes) -> dict[str, np.ndarray]:
    """Turn, zoom, aspect, mirroring and shift of n crops, from where their pixels come from.

    Red is the x of a pixel and green its y, so that a changed crop shows its own transform.
    """
    place = np.arange(SIDE, dtype=np.float32)
    crop = np.zeros((SIDE, SIDE, 3), np.float32)
    crop[..., 0], crop[..., 1] = 2 * place + 60, 2 * place[:, None] + 60
    found = (change_faces(np.repeat(crop[None], n, axis=0), **changes)[..., :2] - 60) / 2
    inner = slice(SIDE // 4, 3 * SIDE // 4)  # the edges repeat
    y, x = np.mgrid[inner, inner]
    center = (SIDE - 1) / 2
    design = np.stack([x.ravel() - center, y.ravel() - center, np.ones(x.size)], axis=1)
    fits = [np.linalg.lstsq(design, f[inner, inner].reshape(-1, 2), rcond=None)[0] for f in found]
    (a0, a1, a2), (b0, b1, b2) = np.moveaxis(np.array(fits), 0, 2).transpose(1, 0, 2)
    zoom = np.hypot(a1, b1)
    return {
        "turn_deg": np.degrees(np.arctan2(-a1, b1)),
        "zoom": zoom,
        "aspect": np.hypot(a0, b0) / zoom,
        "mirrored": a0 * b1 - a1 * b0 < 0,
        "shift_x": (a2 - center) / SIDE,
        "shift_y": (b2 - center) / SIDE,
    }


def spans(values: np.ndarray, low: float, high: float) -> bool:
    """Whether values lie between low and high, and use nearly all of that range."""
    margin = 0.05 * (high - low)
    inside = low - 1e-3 <= values.min() and values.max() <= high + 1e-3
    return bool(inside and values.min() < low + margin and values.max() > high - margin)


@tensorflow
def test_faces_are_turned_and_moved_within_the_settings():
    found = measure_geometry(400, flip=True, scale=0.12, shift=0.06, turn_deg=10.0, aspect=0.1)
    assert spans(found["turn_deg"], -10, 10)  # and so never upside down
    assert spans(found["zoom"], 0.88, 1.12)
    assert spans(found["aspect"], 0.9, 1.1)
    assert spans(found["shift_x"], -0.06, 0.06)
    assert spans(found["shift_y"], -0.06, 0.06)
    assert 160 < found["mirrored"].sum() < 240

    assert not measure_geometry(50, turn_deg=10.0)["mirrored"].any()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(60, 190, (1000, 32, 32, 3)).astype(np.float32)


@tensorflow
def test_share_and_size_of_erased_crops(noise):
    changed = change_faces(noise, erase=0.3)
    pixels = (np.abs(changed - noise).max(axis=3) > 1e-3).sum(axis=(1, 2))
    erased = pixels > 0
    assert 255 <= erased.sum() <= 345  # 300, 3 deviations
    side = np.sqrt(pixels[erased]) / 32  # smaller at the border, down to a quarter
    assert side.min() > 0.08
    assert 0.3 < side.max() < 0.45
    np.testing.assert_allclose(change_faces(noise), noise, atol=1e-3)


@tensorflow
def test_share_of_gray_crops(noise):
    changed = change_faces(noise, grey=0.3)
    gray = (np.ptp(changed, axis=3) < 1e-3).all(axis=(1, 2))
    assert 255 <= gray.sum() <= 345
    np.testing.assert_allclose(changed[~gray], noise[~gray], atol=1e-3)


@tensorflow
def test_brightness_and_contrast_within_the_settings(noise):
    changed = change_faces(noise, brightness=0.2)
    assert spans((changed - noise).mean(axis=(1, 2, 3)), -51, 51)
    extreme = change_faces(noise, brightness=0.9, light=0.9)
    assert (extreme.min(), extreme.max()) == (0, 255)
    changed = change_faces(noise, contrast=0.25)
    ratios = changed.std(axis=(1, 2, 3)) / noise.std(axis=(1, 2, 3))
    assert spans(ratios, 0.75, 1.25)


@tensorflow
def test_mfcc_masks_take_the_mean_and_keep_their_width():
    mfcc = np.random.default_rng(0).normal(size=(300, 20, 100)).astype(np.float32)
    changed = change_mfcc(mfcc, time_masks=2, time_width=30)
    masked = (changed != mfcc).any(axis=1)  # (n, frames)
    assert 40 < masked.sum(axis=1).max() <= 62
    mean = np.broadcast_to(mfcc.mean(axis=2, keepdims=True), mfcc.shape)
    where = np.broadcast_to(masked[:, None], mfcc.shape)
    np.testing.assert_allclose(changed[where], mean[where], atol=1e-5)
    changed = change_mfcc(mfcc, coefficient_masks=1, coefficient_width=4)
    rows = (changed != mfcc).any(axis=2).sum(axis=1)
    assert set(rows) == {0, 1, 2, 3, 4}


@tensorflow
def test_mfcc_are_shifted_within_the_setting():
    ramp = np.broadcast_to(np.arange(100, dtype=np.float32), (400, 20, 100))
    shifts = change_mfcc(ramp, shift_frames=20)[:, 0, 50] - 50
    assert set(shifts) == set(range(-20, 21))


@tensorflow
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


@tensorflow
def test_warped_mel_without_changes_is_the_same_and_with_them_is_not():
    spec = AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
    rng = np.random.default_rng(0)
    mfcc = rng.normal(0, 20, (4, *spec.shape)).astype(np.float32)
    tf = pytest.importorskip("tensorflow")
    seed = tf.constant([1, 2])
    same = warp_mel(tf.constant(mfcc), seed, MfccChanges(), spec).numpy()
    np.testing.assert_allclose(same, mfcc, atol=1e-3)
    still = MfccChanges(time_masks=0, coefficient_masks=0, shift_frames=0, noise=0.0)
    np.testing.assert_allclose(augment_mfcc(tf.constant(mfcc), seed, still, spec), mfcc, atol=1e-3)
    louder = MfccChanges(gain_db=6.0)
    moved = warp_mel(tf.constant(mfcc), seed, louder, spec).numpy() - mfcc
    # a gain moves the first coefficient alone, by its share in every band
    assert np.abs(moved[:, 1:]).max() < 1e-3
    assert 0 < np.abs(moved[:, 0]).max() <= 6.0 * np.sqrt(spec.n_mels) + 1e-3
    for changes in ({"time_scale": 0.2}, {"mel_scale": 0.2}, {"mel_shift": 0.1},
                    {"mel_mask": 0.5}, {"floor_db": 30.0}):  # fmt: skip
        warped = warp_mel(tf.constant(mfcc), seed, MfccChanges(**changes), spec).numpy()
        assert warped.shape == mfcc.shape
        assert np.isfinite(warped).all()
        assert np.abs(warped - mfcc).max() > 0.1, changes
