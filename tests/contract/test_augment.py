"""Augmentation inside the input pipeline: the identity when off, a change when on."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from keras_emo.data.augment import (  # noqa: E402
    FaceChanges,
    MfccChanges,
    augment_faces,
    augment_mfcc,
    warp_mel,
)
from keras_emo.spec import AudioSpec  # noqa: E402

pytestmark = pytest.mark.tensorflow


def test_warped_mel_without_changes_is_the_same_and_with_them_is_not():
    spec = AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
    rng = np.random.default_rng(0)
    mfcc = rng.normal(0, 20, (4, *spec.shape)).astype(np.float32)
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


def test_faces_keep_shape_and_range_with_every_change():
    faces = tf.random.stateless_uniform([3, 48, 48, 3], [1, 2], 0.0, 255.0)
    changes = FaceChanges(aspect=0.2, light=0.3, erase=1.0)
    changed = augment_faces(faces, tf.constant([3, 4]), changes).numpy()
    assert changed.shape == faces.shape
    assert changed.min() >= 0.0
    assert changed.max() <= 255.0
    plain = augment_faces(faces, tf.constant([3, 4]), FaceChanges(erase=1.0)).numpy()
    assert np.abs(changed - plain).max() > 1.0
