"""Where the weights of a bundle come from: runs, speakers, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keras_emo.data.splits import SPLIT_FILE, Split, check_scored, read_split
from keras_emo.errors import Reason, UsageError
from keras_emo.inference.manifest import Evaluation, MemberSplit, TrainingCorpus
from keras_emo.inference.manifest import Split as BundleSplit
from keras_emo.io import naming_content, read_record
from keras_emo.metrics import Metrics
from keras_emo.training.config import RunManifest, read_manifest


@dataclass(frozen=True)
class Provenance:
    """Preset, corpus, speakers and metrics of an exported network.

    The split of several runs has all speakers that any of them was trained or validated on.
    metrics: by "val", "test" or "folds". averaged: networks whose weights were averaged.
    """

    preset: str
    corpus: TrainingCorpus
    metrics: Mapping[str, Evaluation] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()


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
    splits = [read_split(run / SPLIT_FILE) for run in runs]
    metrics: dict[str, Evaluation] = {}
    if len(runs) == 1:
        metrics |= _read_metrics(runs[0] / name / "metrics.json", splits[0])
    if table is not None:
        metrics["folds"] = read_folds(table, name)
    pretrained = None
    for visual in sorted(runs[0].glob("visual_*/metrics.json")):
        if not name.startswith("audio"):
            pretrained = read_record(visual).get("pretrained")
    split = join_splits(splits)
    corpus = TrainingCorpus(manifest.corpus, split, manifest.clips, pretrained)
    return Provenance(manifest.config.preset, corpus, metrics, tuple(averaged))


def join_splits(splits: Sequence[Split]) -> BundleSplit:
    """The split of one run; of several runs, the speakers of all of them together."""
    if len(splits) == 1:
        return BundleSplit(splits[0].train, splits[0].val, splits[0].test)
    train = {speaker for split in splits for speaker in split.train}
    val = {speaker for split in splits for speaker in split.val} - train
    members = tuple(MemberSplit(split.train, split.val) for split in splits)
    return BundleSplit(tuple(sorted(train)), tuple(sorted(val)), splits[0].test, members)


def _read_metrics(path: Path, split: Split) -> dict[str, Evaluation]:
    known = read_record(path)
    with naming_content(path):
        check_scored(known, split)
        fitted = bool(known.get("fitted_on_val"))
        return {
            part: Evaluation(_read_summary(known[part]), fitted=fitted and part == "val")
            for part in ("val", "test")
            if part in known
        }


def read_folds(table: Path, name: str) -> Evaluation:
    """Metrics over folds: of networks, from train.py, or of bundles, from keras-emo evaluate."""
    known = read_record(table)
    precision, rows = None, known
    with naming_content(table):
        if "made" in known:
            made = known["made"]
            precision = str(made["precision"])
            rows = {made["model"]: {**known, "all": known, "n_seeds": made["n_networks"]}}
    if name not in rows:
        raise UsageError(table, Reason.BAD_CONFIG, f"it has no metrics of {name}")
    with naming_content(table):
        row = rows[name]
        return Evaluation(
            _read_summary(row["all"]),
            precision=precision,
            n_seeds=int(row["n_seeds"]),
            n_folds=len(row["folds"]),
            fold_mean=float(row["fold_mean"]),
            fold_deviation=float(row["fold_deviation"]),
            single_mean=None if precision else float(row["single_mean"]),
        )


def _read_summary(metrics: Mapping[str, Any]) -> Metrics:
    return Metrics.from_dict(metrics).summarize()
