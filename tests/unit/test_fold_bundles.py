"""keras-emo evaluate --folds: bundles of the folds, each on its own test speakers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.cli import evaluate
from keras_emo.cli import main as cli
from keras_emo.cli.fold_bundles import check_folds, describe_folds, find_folds
from keras_emo.data.corpus import Corpus, Sample
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.card import format_figures
from keras_emo.export.provenance import _read_folds
from keras_emo.inference.model import Prediction
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource

SPEAKERS = ("1", "2", "3")


def make_bundle(folder: Path, tested: str, **changes) -> SimpleNamespace:
    others = [s for s in SPEAKERS if s != tested]
    split = {"train": others, "val": [], "test": [tested], "members": [{}, {}, {}]}
    info = {"name": folder.name, "model": "fusion_multi_tdnn", "preset": "compact",
            "precision": "int8", "clip_spec": {}, "corpus": {"split": split}}  # fmt: skip
    return SimpleNamespace(folder=folder, info={**info, **changes})


class FoldPredictor:
    """Says what its bundle's name says: fold0 happy, fold1 sad."""

    def __init__(self, bundle, threads):
        self.says = {"fold0": "happy", "fold1": "sad"}[bundle.info["name"]]

    def predict(self, source):
        probs = np.full(7, 0.05)
        probs[EMOTIONS.index(self.says)] = 0.7
        return Prediction(
            source.path, self.says, probs, ["face", "voice"], [], [], 4, 4, 1.0, 0,
        )  # fmt: skip


@pytest.fixture
def corpus(monkeypatch):
    def sample(speaker: str, i: int, emotion: str) -> Sample:
        gender, video = "male" if speaker == "1" else "female", Path(f"{speaker}{i}.mp4")
        return Sample(f"{speaker}-{i}", "stub", speaker, gender, emotion, ClipSource(video=video))

    samples = [sample("1", i, "happy" if i < 3 else "sad") for i in range(4)]
    samples += [sample("2", i, "sad") for i in range(2)] + [sample("3", 0, "angry")]
    monkeypatch.setattr(evaluate, "read_corpus", lambda *_: Corpus("stub", samples))
    monkeypatch.setattr(evaluate, "Predictor", FoldPredictor)


@pytest.fixture
def folds(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "folds"
    for name in ("fold0", "fold1"):
        (root / name).mkdir(parents=True)
        (root / name / "bundle.json").write_text("{}")
    made = {"fold0": make_bundle(root / "fold0", "1"), "fold1": make_bundle(root / "fold1", "2")}
    monkeypatch.setattr(evaluate, "load_bundle", lambda folder: made[folder.name])
    return root


@pytest.mark.usefixtures("corpus")
def test_each_answers_its_own_test_speakers(folds, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert cli.main(["evaluate", "--data", "x", "--folds", str(folds), "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "learned" not in printed.err
    assert "fold0  75.0 %" in printed.out
    figures = json.loads(out.read_text())
    assert [c["take_id"] for c in figures["clips"]] == ["1-0", "1-1", "1-2", "1-3", "2-0", "2-1"]
    assert [c["answer"] for c in figures["clips"]] == ["happy"] * 4 + ["sad"] * 2
    assert figures["accuracy"] == pytest.approx(5 / 6)
    assert figures["folds"] == {"fold0": 0.75, "fold1": 1.0}
    assert figures["fold_mean"] == pytest.approx(0.875)
    assert figures["bundle"] == "folds"
    assert figures["made"]["n_networks"] == 3
    row = _read_folds(out, "fusion_multi_tdnn")
    assert (row["bundles"], row["n_seeds"], row["n_folds"]) == ("int8", 3, 2)
    line = format_figures({"folds": row})[-1]
    assert "2 bundles made in the same way (int8), of 3 networks each" in line
    assert "83.3" in line
    with pytest.raises(UsageError, match="no figures of audio_tdnn"):
        _read_folds(out, "audio_tdnn")


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("option", ["--speakers", "--bundle"])
def test_speakers_and_bundles_of_ones_own_choice_are_refused(folds, option, capsys):
    command = ["evaluate", "--data", "x", "--folds", str(folds), option, "1"]
    assert cli.main(command) == ExitCode.USAGE
    assert f"'{option}': bad_config: not together with --folds" in capsys.readouterr().err


def test_a_folder_without_bundles_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "bundle.json").touch()
    with pytest.raises(UsageError, match="1 bundles in it"):
        find_folds(tmp_path)


@pytest.mark.parametrize(
    ("change", "told", "reason"),
    [
        ({"precision": "fp16"}, "another precision", Reason.BAD_CONFIG),
        ({"soup": ["visual_residual"]}, "another soup", Reason.BAD_CONFIG),
        ({"model": "audio_tdnn"}, "another model", Reason.BAD_CONFIG),
    ],
)
def test_folds_of_one_network_alone(tmp_path, change, told, reason):
    bundles = [make_bundle(tmp_path / "a", "1"), make_bundle(tmp_path / "b", "2", **change)]
    with pytest.raises(UsageError, match=told) as caught:
        check_folds(bundles, [{"1"}, {"2"}])
    assert caught.value.reason is reason
    assert caught.value.path == str(tmp_path / "b")


@pytest.mark.parametrize(
    ("tested", "told"), [({"1"}, "tests another fold too"), ({"3"}, "was learned from")]
)
def test_speakers_test_once_and_are_strangers(tmp_path, tested, told):
    bundles = [make_bundle(tmp_path / "a", "1"), make_bundle(tmp_path / "b", "2")]
    with pytest.raises(UsageError, match=told) as caught:
        check_folds(bundles, [{"1"}, tested])
    assert caught.value.reason is Reason.BAD_SPLIT


def test_folds_of_other_sizes_are_told_apart(tmp_path):
    bundles = [make_bundle(tmp_path / "a", "1"), make_bundle(tmp_path / "b", "2")]
    for bundle in bundles:
        bundle.info["corpus"]["split"].pop("members")
    by_speaker = {"1": {"n_clips": 4, "accuracy": 0.5}, "2": {"n_clips": 1, "accuracy": 1.0}}
    known = describe_folds(bundles, {"by_speaker": by_speaker})
    assert known["folds"] == {"a": 0.5, "b": 1.0}
    assert known["fold_deviation"] == pytest.approx(0.25)
    assert known["made"] == {"model": "fusion_multi_tdnn", "precision": "int8", "n_networks": 1}
