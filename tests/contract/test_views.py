"""Test-time augmentation: closer crops and shifted voices at inference, nothing in training."""

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from keras_emo.features.mfcc import dct_matrix  # noqa: E402
from keras_emo.networks import build  # noqa: E402
from keras_emo.networks.views import MeanOverViews, MelShifts, Zoom, shift_matrix  # noqa: E402

from .small_networks import SHORT_SPEC as SPEC  # noqa: E402
from .small_networks import TINY, build_tiny  # noqa: E402

pytestmark = pytest.mark.tensorflow
N_MELS = SPEC.audio.n_mels


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)


def test_zoom_is_opencvs_bilinear_one():
    faces = draw(3, 64, 64, 3)
    middle = 63 / 2
    line = ((np.arange(64) - middle) / 1.25 + middle).astype(np.float32)
    expected = [cv2.remap(face, *np.meshgrid(line, line), cv2.INTER_LINEAR) for face in faces]
    seen = np.asarray(Zoom(1.25)(faces))
    np.testing.assert_allclose(seen, np.stack(expected), atol=2.5)  # OpenCV: 1/32 px steps
    assert np.abs(seen - faces).max() > 50


def test_zoom_keeps_a_plain_picture_and_refuses_to_step_back():
    plain = np.full((1, 16, 16, 3), 77, np.float32)
    np.testing.assert_allclose(np.asarray(Zoom(1.3)(plain)), plain, atol=1e-3)
    with pytest.raises(ValueError, match="1 or more"):
        Zoom(0.9)


def test_shifts_move_mel_bands():
    mel = draw(2, N_MELS, 9)
    dct = dct_matrix(SPEC.audio)
    layer = MelShifts((0, 2, -1), {**vars(SPEC.audio)})
    heard = np.asarray(layer((dct @ mel).astype(np.float32)))
    same, up, down = (dct.T @ h for h in np.split(heard, 3))
    np.testing.assert_allclose(same, mel, atol=1e-2)
    np.testing.assert_allclose(up[:, :-2], mel[:, 2:], atol=1e-2)
    np.testing.assert_allclose(up[:, -2:], np.repeat(mel[:, -1:], 2, 1), atol=1e-2)
    np.testing.assert_allclose(down[:, 1:], mel[:, :-1], atol=1e-2)


def test_a_prediction_is_the_mean_over_its_views():
    model = build_tiny("audio_tdnn", 5, SPEC)
    options = {"audio_tdnn": TINY["audio_tdnn"] | {"test_mel_shifts": (0,)}}
    plain = build("audio_tdnn", "compact", options, SPEC)
    plain.set_weights(model.get_weights())
    mfcc = draw(4, *SPEC.audio.shape)
    alone = [
        plain({"mfcc": m})
        for m in (mfcc, shift_matrix(SPEC.audio, 2) @ mfcc, shift_matrix(SPEC.audio, -2) @ mfcc)
    ]
    together = model({"mfcc": mfcc})
    for name in ("logits", "embedding"):
        mean = np.mean([np.asarray(outputs[name]) for outputs in alone], axis=0)
        np.testing.assert_allclose(np.asarray(together[name]), mean, atol=1e-3)
    difference = np.asarray(alone[0]["logits"]) - np.asarray(together["logits"])
    assert np.abs(difference).max() > 1e-2  # else the mean would show nothing


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Zoom(1.2), (2, 32, 32, 1)),
        (MelShifts((0, 1), {**vars(SPEC.audio)}), (2, 32, 9)),
        (MeanOverViews(2), (2, 32)),
    ],
)
def test_training_sees_things_as_they_are(layer, shape):
    x = draw(*shape)
    assert np.asarray(layer(x, training=True)).tobytes() == x.tobytes()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
