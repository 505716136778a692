"""Several runs as one network: mean logits of all, or of the voice and mean weights of the face."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_emo import load
from keras_emo.cli import main
from keras_emo.data.splits import Split
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.ensemble import check_averaged, load_network
from keras_emo.export.parity import sample_feed
from keras_emo.networks import MODELS
from keras_emo.networks.ensemble import average_models
from keras_emo.records import write_fields
from keras_emo.training.config import RunManifest, TrainConfig
from keras_emo.training.evaluate import run_keras

from .small_networks import SHORT_SPEC as SPEC
from .small_networks import TINY, build_tiny

pytestmark = pytest.mark.tensorflow

NAME, FACE = "fusion_multi_tdnn", "visual_residual"
MANIFEST = RunManifest(
    TrainConfig(stages=(NAME,), model=TINY, val=0, clip=SPEC),
    Split(train=("a",), val=(), test=()),
    corpus="builtin",
    clips="5" * 16,
    start={"init_from": "7" * 16},
)


@pytest.fixture
def models():
    """Two networks with one way of weighing face and voice."""
    made = [build_tiny(NAME, seed, SPEC) for seed in range(2)]
    for model in made[1:]:
        model.get_layer("head").set_weights(made[0].get_layer("head").get_weights())
    return made


@pytest.fixture
def runs_of(tmp_path):
    def runs_of(models) -> list:
        runs = []
        for i, model in enumerate(models):
            run = tmp_path / f"seed{i}"
            (run / NAME).mkdir(parents=True)
            model.save(run / NAME / "model.keras")
            (run / "config.json").write_text(json.dumps(write_fields(MANIFEST)))
            split = {**MANIFEST.split.to_dict(), "digest": "5" * 16}
            (run / "split.json").write_text(json.dumps(split))
            runs.append(run)
        return runs

    return runs_of


def compute_logits(model, feed) -> np.ndarray:
    return run_keras(model)(feed)["logits"]


def test_the_face_has_the_mean_weights_and_the_voice_the_mean_logits(models, runs_of):
    runs = runs_of(models)
    feed = sample_feed(MODELS[NAME], 3, SPEC)
    averaged = load_network(runs, NAME, MANIFEST.config, (FACE,))
    every = [m.get_layer(FACE).get_weights() for m in models]
    mean = [np.mean(same, axis=0) for same in zip(*every, strict=True)]
    for got, expected in zip(averaged.get_layer(FACE).get_weights(), mean, strict=True):
        np.testing.assert_array_equal(got, expected)
    for model in models:
        model.get_layer(FACE).set_weights(mean)
    expected = compute_logits(average_models(models), feed)  # of networks that share the face
    np.testing.assert_allclose(compute_logits(averaged, feed), expected, atol=1e-5)
    assert averaged.count_params() < sum(m.count_params() for m in models)
    alone = [compute_logits(m, feed) for m in models]
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # otherwise their mean would prove nothing


def test_the_command_writes_a_bundle_with_the_same_logits(models, runs_of, tmp_path):
    runs = [str(run) for run in runs_of(models)]
    out = tmp_path / "averaged"
    options = ["--run", *runs, "--model", NAME, "--average-weights", FACE, "--formats", "onnx"]
    assert main(["export", *options, "--out", str(out)]) == ExitCode.OK
    known = json.loads((out / "bundle.json").read_text())
    assert known["averaged"] == [FACE]
    card = (out / "README.md").read_text()
    assert f"mean of the logits of 2 networks; the weights of {FACE} are averaged" in card
    feed = sample_feed(MODELS[NAME], 2, SPEC)
    paths = [tmp_path / f"seed{i}" for i in range(2)]
    expected = compute_logits(load_network(paths, NAME, MANIFEST.config, (FACE,)), feed)
    np.testing.assert_allclose(load(out).run(feed)["logits"], expected, atol=1e-4)


def test_other_heads_are_refused(models, runs_of):
    models[1] = build_tiny(NAME, 1, SPEC)
    with pytest.raises(UsageError, match="weigh face and voice differently") as caught:
        load_network(runs_of(models), NAME, MANIFEST.config, (FACE,))
    assert caught.value.reason is Reason.BAD_CONFIG


@pytest.mark.parametrize(
    ("averaged", "name", "n_runs", "start", "cause"),
    [
        ("visual_alexnet", NAME, 3, True, "known here: visual_residual"),
        ("audio_tdnn", NAME, 3, True, "known here: visual_residual"),
        (FACE, "fusion_joint", 3, True, "known here: none"),
        (FACE, NAME, 1, True, "several runs"),
        (FACE, NAME, 3, False, "not initialized from weights"),
    ],
)
def test_weights_that_cannot_be_averaged(averaged, name, n_runs, start, cause, tmp_path):
    manifest = MANIFEST if start else replace(MANIFEST, start={})
    with pytest.raises(UsageError, match=cause):
        check_averaged((averaged,), [tmp_path] * n_runs, name, manifest)


def test_a_face_network_alone_and_nothing_averaged(tmp_path):
    check_averaged((FACE,), [tmp_path] * 2, FACE, MANIFEST)
    check_averaged((), [tmp_path], NAME, replace(MANIFEST, start={}))


def test_all_networks_at_once_are_refused(runs_of, models, tmp_path, capsys):
    runs = [str(run) for run in runs_of(models)]
    options = ["--run", *runs, "--model", "all", "--average-weights", FACE, "--out", "x"]
    assert main(["export", *options]) == ExitCode.USAGE
    assert "name one network" in capsys.readouterr().err


def build_members(n: int):
    return [build_tiny("fusion_joint", seed, SPEC) for seed in range(n)]


def test_logits_are_the_mean_of_the_members():
    members = build_members(3)
    together = average_models(members)
    feed = sample_feed(MODELS["fusion_joint"], 3, SPEC)
    alone = np.stack([compute_logits(m, feed) for m in members])
    said = run_keras(together)(feed)
    np.testing.assert_allclose(said["logits"], alone.mean(axis=0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # else their mean would show nothing


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
