"""Several networks as one: the mean of their logits, exported like any other."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from keras_emo.core.spec import AudioSpec, ClipSpec, FaceSpec  # noqa: E402
from keras_emo.exporting.bundle import export_bundle  # noqa: E402
from keras_emo.exporting.parity import sample_feed  # noqa: E402
from keras_emo.models import MODELS, build_model  # noqa: E402
from keras_emo.models.ensemble import average_models  # noqa: E402
from keras_emo.runtime.predictor import Predictor  # noqa: E402
from keras_emo.training.evaluate import run_keras  # noqa: E402

pytestmark = pytest.mark.tensorflow

SPEC = ClipSpec(face=FaceSpec(size_px=64), audio=AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32))
TINY = {
    "visual_residual": {"width": 0.2},
    "audio_tdnn": {"units": 16, "top_units": 16},
    "fusion_joint": {"units": 8},
}
FACTS = {
    "preset": "compact",
    "corpus": {"name": "builtin", "split": {"train": ["a"], "val": ["b"], "test": []}},
    "metrics": {},
}


def build_members(n: int):
    members = []
    for seed in range(n):
        keras.utils.set_random_seed(seed)
        model = build_model("fusion_joint", "compact", TINY, SPEC)
        rng = np.random.default_rng(seed)
        for weight in model.weights:
            if weight.path.rsplit("/", 1)[-1] in ("bias", "beta", "moving_mean"):
                weight.assign(rng.normal(0, 0.2, weight.shape))
        members.append(model)
    return members


def test_logits_are_the_members_mean_and_the_bundle_says_the_same(tmp_path):
    members = build_members(3)
    together = average_models(members)
    feed = sample_feed(MODELS["fusion_joint"], 3, SPEC)
    alone = np.stack([run_keras(m)(feed)["logits"] for m in members])
    said = run_keras(together)(feed)
    np.testing.assert_allclose(said["logits"], alone.mean(axis=0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # else their mean would show nothing
    export_bundle(together, MODELS["fusion_joint"], SPEC, FACTS, tmp_path / "b", ("onnx",))
    served = Predictor(tmp_path / "b").run(feed)
    np.testing.assert_allclose(served["logits"], said["logits"], atol=1e-4)


def test_one_member_or_other_inputs_are_refused():
    one = build_members(1)
    with pytest.raises(ValueError, match="at least two"):
        average_models(one)
    other = build_model("audio_tdnn", "compact", TINY, SPEC)
    with pytest.raises(ValueError, match="same inputs"):
        average_models([one[0], other])
