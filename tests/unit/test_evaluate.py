"""keras-emo evaluate: a bundle, or the bundles of folds on their own test speakers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_emo import cli
from keras_emo.cli import evaluate
from keras_emo.cli.evaluate import Scored, check_folds, find_folds, summarize_folds
from keras_emo.data.corpus import Corpus, Sample
from keras_emo.errors import ClipError, ExitCode, Reason, UsageError
from keras_emo.inference.manifest import MemberSplit, Split, TrainingCorpus
from keras_emo.inference.results import Damage, FaceCount, Prediction
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.metrics import GroupScores

SPEAKERS = ("1", "2", "3")
PREDICTED = {"fold0": "happy", "fold1": "sad"}


@dataclass(frozen=True)
class StubManifest:
    name: str
    corpus: TrainingCorpus
    model: str = "fusion_multi_tdnn"
    preset: str = "compact"
    precision: str = "int8"
    averaged: tuple[str, ...] = ()
    clip_spec: None = None


def make_bundle(folder: Path, tested: str, n_members: int = 3, **changes) -> SimpleNamespace:
    train, val = (s for s in SPEAKERS if s != tested)
    split = Split((train,), (val,), (tested,), (MemberSplit((train,), (val,)),) * n_members)
    manifest = StubManifest(folder.name, TrainingCorpus("stub", split))
    return SimpleNamespace(folder=folder, manifest=replace(manifest, **changes))


def make_sample(speaker: str, i: int, emotion: str) -> Sample:
    gender, video = "male" if speaker == "1" else "female", Path(f"{speaker}{i}.mp4")
    return Sample(f"{speaker}-{i}", "stub", speaker, gender, emotion, ClipSource(video=video))


SAMPLES = [
    *(make_sample("1", i, "happy" if i < 3 else "sad") for i in range(4)),
    *(make_sample("2", i, "sad") for i in range(2)),
    make_sample("3", 0, "angry"),
]


class StubModel:
    """Predicts what its bundle's name stands for; fails on the first clip of speaker 3."""

    damaged: tuple[str, ...] = ()

    def __init__(self, bundle, threads, providers):
        self.label = PREDICTED[bundle.manifest.name]

    def predict(self, source):
        if source.path.stem == "30":
            raise ClipError(source.path, Reason.EMPTY_FILE, "the file has no bytes")
        probs = dict.fromkeys(EMOTIONS, 0.05) | {self.label: 0.7}
        return Prediction(
            str(source.path), self.label, 0.7, probs, ("face", "voice"), (), FaceCount(4, 4), 1.0,
            Damage(packets=3 * (source.path.stem in self.damaged)), (),
        )  # fmt: skip


@pytest.fixture
def folds(tmp_path, monkeypatch) -> Path:
    """Two bundles and a corpus of three speakers."""
    root = tmp_path / "folds"
    for name in PREDICTED:
        (root / name).mkdir(parents=True)
        (root / name / "bundle.json").write_text("{}")
    made = {"fold0": make_bundle(root / "fold0", "1"), "fold1": make_bundle(root / "fold1", "2")}
    monkeypatch.setattr(evaluate, "load_bundle", lambda folder: made[folder.name])
    monkeypatch.setattr(evaluate, "read_corpus", lambda *_: Corpus("stub", SAMPLES))
    monkeypatch.setattr(evaluate, "load", StubModel)
    return root


@pytest.mark.parametrize(
    ("stems", "code"), [(["10", "11"], 0), (["10", "13"], 4), (["10", "30"], 4), (["30"], 3)]
)
def test_exit_codes(stems, code, folds, tmp_path, monkeypatch):
    """The clip 13 is damaged, 30 is refused."""
    monkeypatch.setattr(StubModel, "damaged", ("13",))
    chosen = [s for s in SAMPLES if s.source.path.stem in stems]
    monkeypatch.setattr(evaluate, "read_corpus", lambda *_: Corpus("stub", chosen))
    command = ["evaluate", "--bundle", str(folds / "fold0"), "--data", "x"]
    assert cli.main([*command, "--json", str(tmp_path / "a.json")]) == code
    data = json.loads((tmp_path / "a.json").read_text())
    assert (data["n_degraded"], data["n_abstained"]) == (stems.count("13"), stems.count("30"))


def test_each_fold_is_scored_on_its_own_test_speakers(folds, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert cli.main(["evaluate", "--data", "x", "--folds", str(folds), "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "fold0  75.0 %" in printed.out
    data = json.loads(out.read_text())
    assert [(c["sample_id"], c["prediction"]) for c in data["clips"]] == [
        *((f"1-{i}", "happy") for i in range(4)),
        *((f"2-{i}", "sad") for i in range(2)),
    ]
    assert data["accuracy"] == pytest.approx(5 / 6)
    known = {
        "folds": {"fold0": 0.75, "fold1": 1.0}, "fold_mean": 0.875, "fold_deviation": 0.125,
        "made": {"model": "fusion_multi_tdnn", "precision": "int8", "n_networks": 3},
        "bundle": "folds",
    }  # fmt: skip
    assert data.items() >= known.items()


def test_a_bundle_is_warned_of_speakers_that_it_was_trained_on(folds, tmp_path, capsys):
    """fold0 was trained on 2 and 3; speaker 1 alone tests it, and failed clips count as wrong."""
    out = tmp_path / "scores.json"
    command = ["evaluate", "--data", "x", "--bundle", str(folds / "fold0"), "--json", str(out)]
    assert cli.main(command) == ExitCode.PARTIAL
    warning, failure = capsys.readouterr().err.splitlines()
    assert warning == "warning: the network was trained on 2, 3; their clips do not test it"
    assert failure == "error: '30.mp4': empty_file: the file has no bytes"
    data = json.loads(out.read_text())
    assert data["speakers_seen_in_training"] == ["2", "3"]
    assert (data["n_clips"], data["n_abstained"], data["accuracy"]) == (7, 1, pytest.approx(3 / 7))
    assert data["clips"][-1]["reason"] == "empty_file"
    assert cli.main([*command, "--speakers", "test"]) == ExitCode.OK
    assert capsys.readouterr().err == ""
    data = json.loads(out.read_text())
    assert (data["speakers_seen_in_training"], data["n_speakers"]) == ([], 1)


@pytest.mark.parametrize("option", ["--speakers", "--bundle"])
def test_folds_leave_no_choice_of_speakers_and_bundle(folds, option, capsys):
    command = ["evaluate", "--data", "x", "--folds", str(folds), option, "1"]
    assert cli.main(command) == ExitCode.USAGE
    assert f"'{option}': bad_config: not together with --folds" in capsys.readouterr().err


def test_one_fold_is_refused(folds):
    (folds / "fold1" / "bundle.json").unlink()
    with pytest.raises(UsageError, match="1 bundles in it"):
        find_folds(folds)


def score_folds(root: Path, tested: str = "12", **changes) -> list[Scored]:
    """Bundles that were tested on 1 and on 2, scored on a speaker each."""
    bundles = make_bundle(root / "a", "1"), make_bundle(root / "b", "2", **changes)
    return [
        Scored(bundle, [s for s in SAMPLES if s.speaker == speaker])
        for bundle, speaker in zip(bundles, tested, strict=True)
    ]


@pytest.mark.parametrize(
    ("changes", "tested", "reason", "cause"),
    [
        ({"precision": "fp16"}, "12", Reason.BAD_CONFIG, "another precision"),
        ({"averaged": ("visual_residual",)}, "12", Reason.BAD_CONFIG, "another averaged"),
        ({"model": "audio_tdnn"}, "12", Reason.BAD_CONFIG, "another model"),
        ({}, "11", Reason.BAD_SPLIT, "tests another fold too"),
        ({}, "22", Reason.BAD_SPLIT, "was trained on"),
        ({}, "13", Reason.BAD_SPLIT, "was validated on"),
    ],
)
def test_folds_are_made_in_one_way_and_never_saw_their_speakers(
    tmp_path, changes, tested, reason, cause
):
    check_folds(score_folds(tmp_path))
    with pytest.raises(UsageError, match=cause) as caught:
        check_folds(score_folds(tmp_path, tested, **changes))
    assert caught.value.reason is reason


def test_folds_of_other_sizes(tmp_path):
    scored = score_folds(tmp_path, n_members=0)
    groups = {"1": GroupScores(0.5, 0, 0, 4), "2": GroupScores(1.0, 0, 0, 1)}
    evaluation = SimpleNamespace(metrics=SimpleNamespace(by_speaker=groups))
    known = summarize_folds(scored[::-1], evaluation)
    assert known["folds"] == {"b": 1.0, "a": 0.5}
    assert known["fold_deviation"] == pytest.approx(0.25)
    assert known["made"]["n_networks"] == 1
