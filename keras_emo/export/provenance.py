"""What a bundle says of where its weights come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_emo.data.splits import SPLIT_FILE, check_scored, check_split, read_split
from keras_emo.errors import Reason, UsageError
from keras_emo.export.card import format_figures
from keras_emo.io import naming_content, read_record
from keras_emo.spec import ClipSpec

KEPT = (
    "n_clips", "n_speakers", "n_abstained", "accuracy", "uar", "macro_f1", "interval_95", "ece",
    "recall", "by_gender",
)  # fmt: skip


def read_runs(runs: Sequence[Path]) -> dict[str, Any]:
    """config.json of the first run. Raises UsageError where another differs in more than its seed,
    and for one that is damaged.

    Other validation speakers are no difference: the seed draws them.
    """
    first = _read_asked(runs[0])
    for run in runs[1:]:
        other = _read_asked(run)
        _check_alike(run, other, first, runs[0])
        if set(first["split"]["test"]) != set(other["split"]["test"]):
            cause = f"it was tested on other speakers than {runs[0]}"
            raise UsageError(run, Reason.BAD_SPLIT, cause)
    return first


def read_alike(run: Path, first: dict[str, Any], name: Path) -> dict[str, Any]:
    """config.json of a run. Raises UsageError where it differs from first, which name has, in more
    than its seed, its speakers and what else it trains."""
    other = _read_asked(run)
    mine, theirs = first["config"], other["config"]
    common = mine["stage"].keys() & theirs["stage"].keys()
    free = {"val", "stages"}

    def narrow(asked: dict[str, Any]) -> dict[str, Any]:
        config = {k: v for k, v in asked["config"].items() if k not in free}
        config["stage"] = {k: config["stage"][k] for k in common}
        return {**asked, "config": config}

    _check_alike(run, narrow(other), narrow(first), name)
    return other


def _check_alike(run: Path, other: dict[str, Any], first: dict[str, Any], name: Path) -> None:
    for key in ("corpus", "start", "config"):
        mine, theirs = first[key], other[key]
        if key == "config":
            mine, theirs = ({k: v for k, v in c.items() if k != "seed"} for c in (mine, theirs))
        if mine != theirs:
            cause = f"it has another {key} than {name}: they cannot become one network"
            raise UsageError(run, Reason.BAD_CONFIG, cause)


def collect_facts(
    runs: Sequence[Path], name: str, asked: dict[str, Any], table: Path | None = None
) -> dict[str, Any]:
    """Preset, corpus, split and figures of a network, as export_bundle takes them.

    Several runs: everybody whom one of them learned from counts as trained on, and there are no
    figures of their own: table, a table.json of the same configuration over folds, has them.
    """
    figures: dict[str, Any] = {}
    splits = [read_split(run / SPLIT_FILE) for run in runs]
    split = splits[0]
    if len(runs) == 1:
        figures = _read_figures(runs[0] / name / "metrics.json", split)
    else:
        trained = sorted({s for part in splits for s in part["train"]})
        looked_at = sorted({s for part in splits for s in part["val"]} - set(trained))
        split = {"train": trained, "val": looked_at, "test": split["test"],
                 "members": [{k: s[k] for k in ("train", "val")} for s in splits]}  # fmt: skip
    if table is not None:
        figures["folds"] = _read_folds(table, name)
    corpus: dict[str, Any] = {"name": asked["corpus"], "split": split, "clips": asked["clips"]}
    for visual in sorted(runs[0].glob("visual_*/metrics.json")):
        if not name.startswith("audio"):
            corpus["pretrained"] = read_record(visual).get("pretrained")
    return {"preset": asked["config"]["preset"], "metrics": figures, "corpus": corpus}


def _read_asked(run: Path) -> dict[str, Any]:
    """config.json of a run, with all that an export takes from it."""
    path = run / "config.json"
    if not path.is_file():
        raise UsageError(run, Reason.NOT_FOUND, "not a run folder of train.py: no config.json")
    asked = read_record(path)
    with naming_content(path):
        config = asked["config"]
        ClipSpec.from_dict(config["clip"])
        for value in (asked["corpus"], asked["clips"], config["preset"]):
            if not isinstance(value, str):
                raise TypeError(f"{value!r} for a name")
        tables = (asked["start"], config["model"], config["stage"], *config["model"].values())
        for value in tables:
            if not isinstance(value, dict):
                raise TypeError(f"{value!r} for a table")
        check_split(asked["split"])
    return asked


def _read_figures(path: Path, split: dict[str, Any]) -> dict[str, Any]:
    metrics = read_record(path)
    with naming_content(path):
        check_scored(metrics, split)
        figures = {
            part: {k: metrics[part][k] for k in KEPT if k in metrics[part]}
            for part in ("val", "test")
            if part in metrics
        }
        if metrics.get("fitted_on_val"):
            figures["val"]["fitted"] = True
        format_figures(figures)  # the model card needs them all
    return figures


def _read_folds(table: Path, name: str) -> dict[str, Any]:
    """Figures over folds: of networks, from train.py, or of bundles, from keras-emo evaluate."""
    known = read_record(table)
    figures: dict[str, Any] = {}
    kept = ["n_seeds", "fold_mean", "fold_deviation"]
    with naming_content(table):
        if "made" in known:
            made = known["made"]
            rows = {made["model"]: {**known, "all": known, "n_seeds": int(made["n_networks"])}}
            figures["bundles"] = str(made["precision"])
        else:
            rows = known
            kept.append("single_mean")
    if name not in rows:
        raise UsageError(table, Reason.BAD_CONFIG, f"it has no figures of {name}")
    with naming_content(table):
        row = rows[name]
        figures |= {k: row["all"][k] for k in KEPT if k in row["all"]}
        figures |= {k: row[k] for k in kept}
        figures["n_folds"] = len(row["folds"])
        format_figures({"folds": figures})
    return figures
