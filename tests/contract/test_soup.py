"""Runs that share a start as one network: mean weights of the face, mean answers of the voice."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_emo import load
from keras_emo.cli.export import main
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.ensemble import check_soup, load_network
from keras_emo.export.parity import sample_feed
from keras_emo.networks import MODELS
from keras_emo.networks.ensemble import average_models
from keras_emo.training.evaluate import run_keras

from .small_networks import SHORT_SPEC as SPEC
from .small_networks import TINY, build_tiny

pytestmark = pytest.mark.tensorflow

NAME, FACE = "fusion_multi_tdnn", "visual_residual"
ASKED = {
    "config": {"preset": "compact", "model": TINY, "stage": {}, "seed": 0, "val": 0,
               "clip": SPEC.to_dict()},
    "corpus": "builtin", "clips": "5" * 16, "start": {"init_from": "7" * 16},
    "split": {"train": ["a"], "val": [], "test": []},
}  # fmt: skip


@pytest.fixture
def members():
    """Three networks with one way of weighing face and voice."""
    made = [build_tiny(NAME, seed, SPEC) for seed in range(3)]
    for model in made[1:]:
        model.get_layer("head").set_weights(made[0].get_layer("head").get_weights())
    return made


@pytest.fixture
def save(tmp_path):
    def save(models) -> list:
        runs = []
        for i, model in enumerate(models):
            run = tmp_path / f"seed{i}"
            (run / NAME).mkdir(parents=True)
            model.save(run / NAME / "model.keras")
            (run / "config.json").write_text(json.dumps(ASKED))
            (run / "split.json").write_text(json.dumps({**ASKED["split"], "digest": "5" * 16}))
            runs.append(run)
        return runs

    return save


def answer(model, feed) -> np.ndarray:
    return run_keras(model)(feed)["logits"]


def test_the_face_has_the_mean_weights_and_the_voice_the_mean_answer(members, save):
    runs = save(members)
    feed = sample_feed(MODELS[NAME], 3, SPEC)
    soup = load_network(runs, NAME, ASKED, SPEC, (FACE,))
    every = [m.get_layer(FACE).get_weights() for m in members]
    mean = [np.mean(same, axis=0) for same in zip(*every, strict=True)]
    for got, expected in zip(soup.get_layer(FACE).get_weights(), mean, strict=True):
        np.testing.assert_array_equal(got, expected)
    for model in members:
        model.get_layer(FACE).set_weights(mean)
    expected = answer(average_models(members), feed)  # of members that share the face
    np.testing.assert_allclose(answer(soup, feed), expected, atol=1e-5)


def test_members_with_the_same_face_answer_as_their_mean(members, save):
    for model in members[1:]:
        model.get_layer(FACE).set_weights(members[0].get_layer(FACE).get_weights())
    feed = sample_feed(MODELS[NAME], 3, SPEC)
    soup = load_network(save(members), NAME, ASKED, SPEC, (FACE,))
    alone = np.stack([answer(m, feed) for m in members])
    np.testing.assert_allclose(answer(soup, feed), alone.mean(axis=0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # else their mean would show nothing
    assert soup.count_params() < sum(m.count_params() for m in members)


def test_the_command_writes_a_bundle_that_says_the_same(members, save, tmp_path):
    runs = [str(run) for run in save(members)]
    out = tmp_path / "soup"
    options = ["--run", *runs, "--model", NAME, "--soup", FACE, "--formats", "onnx"]
    assert main([*options, "--out", str(out)]) == ExitCode.OK
    known = json.loads((out / "bundle.json").read_text())
    assert known["soup"] == [FACE]
    assert f"of {FACE} it is the mean of their weights" in (out / "README.md").read_text()
    feed = sample_feed(MODELS[NAME], 2, SPEC)
    expected = answer(load_network([tmp_path / f"seed{i}" for i in range(3)], NAME, ASKED, SPEC,
                                   (FACE,)), feed)  # fmt: skip
    np.testing.assert_allclose(load(out).run(feed)["logits"], expected, atol=1e-4)


def test_other_heads_are_refused(members, save):
    members[1] = build_tiny(NAME, 1, SPEC)
    with pytest.raises(UsageError, match="other ways") as caught:
        load_network(save(members), NAME, ASKED, SPEC, (FACE,))
    assert caught.value.reason is Reason.BAD_CONFIG


@pytest.mark.parametrize(
    ("soup", "name", "n_runs", "start", "told"),
    [
        ("visual_alexnet", NAME, 3, True, "known here: visual_residual"),
        ("audio_tdnn", NAME, 3, True, "known here: visual_residual"),
        (FACE, "fusion_joint", 3, True, "known here: none"),
        (FACE, NAME, 1, True, "name more"),
        (FACE, NAME, 3, False, "did not begin"),
    ],
)
def test_soups_that_cannot_be(soup, name, n_runs, start, told, tmp_path):
    asked = {**ASKED, "start": ASKED["start"] if start else {}}
    with pytest.raises(UsageError, match=told):
        check_soup((soup,), [tmp_path] * n_runs, name, asked)


def test_a_face_network_alone_and_no_soup(tmp_path):
    check_soup((FACE,), [tmp_path] * 2, FACE, ASKED)
    check_soup((), [tmp_path], NAME, {**ASKED, "start": {}})


def test_all_networks_at_once_are_refused(members, save, tmp_path, capsys):
    runs = [str(run) for run in save(members)]
    options = ["--run", *runs, "--model", "all", "--soup", FACE, "--out", str(tmp_path / "x")]
    assert main(options) == ExitCode.USAGE
    assert "name the one network" in capsys.readouterr().err
