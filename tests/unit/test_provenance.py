"""Which runs may become one network, which may be a reference, and what a bundle records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_emo.data.splits import Split
from keras_emo.errors import Reason, UsageError
from keras_emo.export.card import format_metrics
from keras_emo.export.provenance import collect_provenance, read_folds, read_reference, read_runs
from keras_emo.inference.manifest import MemberSplit, TrainingCorpus
from keras_emo.inference.manifest import Split as BundleSplit
from keras_emo.metrics import Metrics, measure

pytest.importorskip("keras")
from keras_emo.records import write_fields
from keras_emo.training.config import RunManifest, StageConfig, TrainConfig

pytestmark = pytest.mark.tensorflow

PLAIN = TrainConfig(seed=0, val=0, stages=("audio_cnn",))
SPLIT = Split(train=("builtin/01",), val=(), test=("builtin/03",))


@pytest.fixture
def write(tmp_path):
    def write(name: str, config=PLAIN, corpus="builtin", split=SPLIT) -> Path:
        manifest = RunManifest(config, split, corpus, "5" * 16, {})
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(write_fields(manifest)))
        written = {**split.to_dict(), "digest": split.digest()}
        (tmp_path / name / "split.json").write_text(json.dumps(written))
        return tmp_path / name

    return write


def read_second(first: Path, other: Path) -> RunManifest:
    return read_reference(other, read_runs([first]), first)


def test_runs_and_references_may_have_another_seed(write):
    first, other = write("a"), write("b", replace(PLAIN, seed=1))
    assert read_runs([first, other]).config.seed == 0
    assert read_second(first, other).config.seed == 1


@pytest.mark.parametrize("change", [{"val": 2}, {"stages": ("audio_cnn", "audio_lstm")}])
def test_references_may_differ_in_more_than_runs(write, change):
    first, other = write("a"), write("b", replace(PLAIN, **change))
    with pytest.raises(UsageError, match="another config") as caught:
        read_runs([first, other])
    assert caught.value.reason is Reason.BAD_CONFIG
    assert read_second(first, other).split == SPLIT


@pytest.mark.parametrize(
    "change", [{"preset": "faithful"}, {"stage": {"audio_cnn": StageConfig(epochs=2)}}]
)
def test_other_settings_are_refused(write, change):
    first, other = write("a"), write("b", replace(PLAIN, **change))
    with pytest.raises(UsageError, match=r"b.*another config than .*a"):
        read_second(first, other)


def test_another_corpus_or_other_test_speakers_are_refused(write):
    first, other = write("a"), write("b", corpus="savee")
    with pytest.raises(UsageError, match="another corpus"):
        read_second(first, other)
    third = write("c", split=replace(SPLIT, test=("builtin/04",)))
    with pytest.raises(UsageError, match="other test speakers"):
        read_runs([first, third])


def test_speakers_of_several_runs_are_joined(write):
    """Whoever trained one of the runs counts as a training speaker of the network."""
    splits = (
        Split(train=("1", "2"), val=("3",), test=("9",)),
        Split(train=("2", "3"), val=("4",), test=("9",)),
    )
    runs = [write(name, split=split) for name, split in zip("ab", splits, strict=True)]
    made = collect_provenance(runs, "audio_cnn", read_runs(runs))
    assert made.corpus == TrainingCorpus(
        name="builtin",
        split=BundleSplit(
            train=("1", "2", "3"),
            val=("4",),
            test=("9",),
            members=(MemberSplit(("1", "2"), ("3",)), MemberSplit(("2", "3"), ("4",))),
        ),
        clips="5" * 16,
    )
    assert (made.preset, made.metrics, made.averaged) == ("compact", {}, ())


def measure_five_of_six() -> Metrics:
    labels, probs = np.array([3, 3, 3, 5, 5, 5]), np.full((6, 7), 0.05)
    probs[np.arange(6), [3, 3, 3, 5, 5, 0]] = 0.7
    return measure(labels, probs, ["1"] * 4 + ["2"] * 2)


def test_metrics_over_folds_of_bundles(tmp_path):
    """The file that keras-emo evaluate --folds writes."""
    table = {
        **measure_five_of_six().to_dict(),
        "folds": {"fold0": 0.75, "fold1": 1.0},
        "fold_mean": 0.875,
        "fold_deviation": 0.125,
        "made": {"model": "fusion_joint", "precision": "int8", "n_networks": 3},
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table))
    folds = read_folds(path, "fusion_joint")
    assert (folds.precision, folds.n_seeds, folds.n_folds) == ("int8", 3, 2)
    assert (folds.fold_mean, folds.single_mean) == (0.875, None)
    row = format_metrics({"folds": folds})[-1]
    assert row.startswith("| 2 bundles (int8) trained in the same way, 3 networks averaged")
    assert "| 2 | 6 | 83.3 (" in row
    with pytest.raises(UsageError, match="no metrics of audio_tdnn"):
        read_folds(path, "audio_tdnn")
