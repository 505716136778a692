"""Where the weights of a bundle come from: runs, speakers, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keras_emo.data.splits import PARTS, SPLIT_FILE, Split, check_scored, read_split
from keras_emo.errors import Reason, UsageError
from keras_emo.io import naming_content, read_record
from keras_emo.metrics import Metrics
from keras_emo.training.manifest import RunManifest, read_manifest


@dataclass(frozen=True)
class FoldMetrics:
    """Metrics over the test speakers of all folds.

    fold_mean, fold_deviation: of the folds' accuracies. single_mean: accuracy of one network, not
    of n_seeds together. precision: of the bundles that were tested; "" for Keras networks.
    """

    metrics: Metrics
    n_folds: int
    n_seeds: int
    fold_mean: float
    fold_deviation: float
    single_mean: float | None = None
    precision: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as bundle.json has them."""
        result = {
            **self.metrics.to_dict(),
            "n_folds": self.n_folds,
            "n_seeds": self.n_seeds,
            "fold_mean": self.fold_mean,
            "fold_deviation": self.fold_deviation,
        }
        if self.single_mean is not None:
            result["single_mean"] = self.single_mean
        return {"bundles": self.precision, **result} if self.precision else result


@dataclass(frozen=True)
class Provenance:
    """Preset, corpus, speakers and metrics of an exported network.

    split: of several runs, all speakers that any of them was trained or validated on. run_splits:
    the split of each of several runs. clips: digest of the corpus. pretrained: the face pictures.
    metrics: of the splits val and test. fitted: whether val was used to fit the fusion.
    averaged: networks whose weights were averaged.
    """

    preset: str
    corpus: str
    split: Split
    run_splits: tuple[Split, ...] = ()
    clips: str = ""
    pretrained: str = ""
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    fitted: bool = False
    folds: FoldMetrics | None = None
    averaged: tuple[str, ...] = ()

    def corpus_to_dict(self) -> dict[str, Any]:
        """The entry ``corpus`` of bundle.json."""
        split: dict[str, Any] = dict(self.split.to_dict())
        if self.run_splits:
            split["members"] = [
                {"train": list(s.train), "val": list(s.val)} for s in self.run_splits
            ]
        result = {"name": self.corpus, "split": split, "clips": self.clips}
        return {**result, "pretrained": self.pretrained} if self.pretrained else result

    def metrics_to_dict(self) -> dict[str, Any]:
        """The entry ``metrics`` of bundle.json."""
        result = {split: m.to_dict() for split, m in self.metrics.items()}
        if self.fitted:
            result["val"]["fitted"] = True
        return result if self.folds is None else {**result, "folds": self.folds.to_dict()}


def read_runs(runs: Sequence[Path]) -> RunManifest:
    """The manifest of the first run.

    Raises UsageError for a damaged file and where another run differs in more than its seed and
    the validation speakers that the seed draws.
    """
    first = read_manifest(runs[0])
    for run in runs[1:]:
        other = read_manifest(run)
        _check_alike(run, other, first, runs[0])
        if set(first.split.test) != set(other.split.test):
            cause = f"it has other test speakers than {runs[0]}"
            raise UsageError(run, Reason.BAD_SPLIT, cause)
    return first


def read_reference(run: Path, first: RunManifest, name: Path) -> RunManifest:
    """The manifest of a reference run.

    Raises UsageError where it differs from the first run, in the folder ``name``, in more than
    its seed, its speakers and its other stages.
    """
    other = read_manifest(run)
    common = first.config.stage.keys() & other.config.stage.keys()

    def narrow(manifest: RunManifest) -> RunManifest:
        stage = {key: manifest.config.stage[key] for key in common}
        config = replace(manifest.config, val=0, stages=(), stage=stage)
        return replace(manifest, config=config)

    _check_alike(run, narrow(other), narrow(first), name)
    return other


def _check_alike(run: Path, other: RunManifest, first: RunManifest, name: Path) -> None:
    same = {
        "corpus": other.corpus == first.corpus,
        "start": other.start == first.start,
        "config": replace(other.config, seed=first.config.seed) == first.config,
    }
    for key, alike in same.items():
        if not alike:
            cause = f"it has another {key} than {name}: they cannot become one network"
            raise UsageError(run, Reason.BAD_CONFIG, cause)


def collect_provenance(
    runs: Sequence[Path],
    name: str,
    manifest: RunManifest,
    table: Path | None = None,
    averaged: Sequence[str] = (),
) -> Provenance:
    """The provenance of a network of one run, or of several runs together.

    Several runs have no metrics of their own; table, a table.json of the same configuration over
    folds, has some.
    """
    splits = [_read_split(run / SPLIT_FILE) for run in runs]
    split, fitted = splits[0], False
    metrics: dict[str, Metrics] = {}
    if len(runs) == 1:
        metrics, fitted = _read_metrics(runs[0] / name / "metrics.json", split)
    else:
        train = {speaker for s in splits for speaker in s.train}
        val = {speaker for s in splits for speaker in s.val} - train
        split = Split(tuple(train), tuple(val), split.test)
    pretrained = ""
    for visual in sorted(runs[0].glob("visual_*/metrics.json")):
        if not name.startswith("audio"):
            pretrained = str(read_record(visual).get("pretrained") or "")
    return Provenance(
        preset=manifest.config.preset,
        corpus=manifest.corpus,
        split=split,
        run_splits=tuple(splits) if len(runs) > 1 else (),
        clips=manifest.clips,
        pretrained=pretrained,
        metrics=metrics,
        fitted=fitted,
        folds=read_folds(table, name) if table is not None else None,
        averaged=tuple(averaged),
    )


def _read_split(path: Path) -> Split:
    split = read_split(path)
    return Split.from_dict({part: split[part] for part in PARTS})


def _read_metrics(path: Path, split: Split) -> tuple[dict[str, Metrics], bool]:
    data = read_record(path)
    with naming_content(path):
        check_scored(data, split.to_dict())
        metrics = {
            part: Metrics.from_dict(data[part]).summarize()
            for part in ("val", "test")
            if part in data
        }
        return metrics, bool(data.get("fitted_on_val")) and "val" in metrics


def read_folds(table: Path, name: str) -> FoldMetrics:
    """Metrics over folds: of networks, from train.py, or of bundles, from keras-emo evaluate."""
    known = read_record(table)
    precision, rows = "", known
    with naming_content(table):
        if "made" in known:
            made = known["made"]
            precision = str(made["precision"])
            rows = {made["model"]: {**known, "all": known, "n_seeds": made["n_networks"]}}
    if name not in rows:
        raise UsageError(table, Reason.BAD_CONFIG, f"it has no metrics of {name}")
    with naming_content(table):
        row = rows[name]
        return FoldMetrics(
            Metrics.from_dict(row["all"]).summarize(),
            n_folds=len(row["folds"]),
            n_seeds=int(row["n_seeds"]),
            fold_mean=float(row["fold_mean"]),
            fold_deviation=float(row["fold_deviation"]),
            single_mean=None if precision else float(row["single_mean"]),
            precision=precision,
        )
