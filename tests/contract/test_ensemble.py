"""Several networks as one: the mean of their logits, exported like any other."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_emo import load
from keras_emo.export.bundle import export_bundle
from keras_emo.export.parity import sample_feed
from keras_emo.networks import MODELS
from keras_emo.networks.ensemble import average_models
from keras_emo.training.evaluate import run_keras

from .small_networks import PROVENANCE, build_tiny
from .small_networks import SHORT_SPEC as SPEC

pytestmark = pytest.mark.tensorflow


def build_members(n: int):
    return [build_tiny("fusion_joint", seed, SPEC) for seed in range(n)]


def test_logits_are_the_mean_of_the_members_also_in_the_bundle(tmp_path):
    members = build_members(3)
    together = average_models(members)
    feed = sample_feed(MODELS["fusion_joint"], 3, SPEC)
    alone = np.stack([run_keras(m)(feed)["logits"] for m in members])
    said = run_keras(together)(feed)
    np.testing.assert_allclose(said["logits"], alone.mean(axis=0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # else their mean would show nothing
    export_bundle(together, MODELS["fusion_joint"], SPEC, PROVENANCE, tmp_path / "b", ("onnx",))
    served = load(tmp_path / "b").run(feed)
    np.testing.assert_allclose(served["logits"], said["logits"], atol=1e-4)


def test_both_faces_of_an_ensemble_have_the_same_say():
    entry = MODELS["visual_ensemble"]
    together = build_tiny("visual_ensemble", 0, SPEC)
    each, whole = (together.get_layer(part) for part in entry.branches)
    feed = sample_feed(entry, 1, SPEC)
    frames = run_keras(each)({"face": feed["face"][0]})["logits"].mean(axis=0)
    clip = run_keras(whole)(feed)["logits"][0]
    assert np.abs(frames - clip).max() > 1e-2
    said = run_keras(together)(feed)["logits"][0]
    np.testing.assert_allclose(said, (frames + clip) / 2, atol=1e-4)


def test_one_member_or_other_inputs_are_refused():
    one = build_members(1)
    with pytest.raises(ValueError, match="at least two"):
        average_models(one)
    other = build_tiny("audio_tdnn", 0, SPEC)
    with pytest.raises(ValueError, match="same inputs"):
        average_models([one[0], other])
