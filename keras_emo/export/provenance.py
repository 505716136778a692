"""Where the weights of a bundle come from: runs, speakers, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_emo.data.splits import SPLIT_FILE, SPLITS, Split, check_scored, read_split
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
            raise UsageError(run, Reason.BAD_SPLIT, f"it has other test speakers than {runs[0]}")
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
    other = replace(other, config=replace(other.config, seed=first.config.seed))
    for key in ("corpus", "start", "config"):
        if getattr(other, key) != getattr(first, key):
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
    faces = [] if name.startswith("audio") else sorted(runs[0].glob("visual_*/metrics.json"))
    pretrained = [read_record(path).get("pretrained") for path in faces] or [None]
    split = join_splits(splits)
    corpus = TrainingCorpus(manifest.corpus, split, manifest.clips, pretrained[-1])
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
        metrics = {n: Metrics.from_dict(known[n]).summarize() for n in SPLITS[1:] if n in known}
    fitted = bool(known.get("fitted_on_val"))
    return {n: Evaluation(m, fitted=fitted and n == "val") for n, m in metrics.items()}


def read_folds(table: Path, name: str) -> Evaluation:
    """Metrics over folds: of networks, from train.py, or of bundles, from keras-emo evaluate."""
    known = read_record(table)
    with naming_content(table):
        made = known.get("made")
        if made:
            known = {made["model"]: {**known, "all": known, "n_seeds": made["n_networks"]}}
        if name in known:
            row = known[name]
            return Evaluation(
                Metrics.from_dict(row["all"]).summarize(),
                precision=str(made["precision"]) if made else None,
                n_seeds=int(row["n_seeds"]),
                n_folds=len(row["folds"]),
                fold_mean=float(row["fold_mean"]),
                fold_deviation=float(row["fold_deviation"]),
                single_mean=None if made else float(row["single_mean"]),
            )
    raise UsageError(table, Reason.BAD_CONFIG, f"it has no metrics of {name}")
