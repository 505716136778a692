"""Scores over folds and seeds, as JSON, Markdown and one HTML page that loads nothing else."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.data.corpus import Sample
from keras_emo.errors import Reason, UsageError, describe_error
from keras_emo.io import naming_content, read_record, write_json, write_text
from keras_emo.labels import EMOTION_INDEX, EMOTIONS, N_EMOTIONS
from keras_emo.metrics import Metrics, format_percent, measure, measure_reliability
from keras_emo.render.html import encode_image, escape, render_page, render_table
from keras_emo.training.evaluate import shade_confusion
from keras_emo.training.folds import Plan
from keras_emo.training.run import METRICS_FILE

TABLE_FILE = "table.json"
TITLE = "Emotion recognition on held-out speakers"
HEADS = (
    "network", "one seed, mean ± sd %", "seeds averaged, folds mean ± sd %", "accuracy % (95 %)",
    "UAR %", "macro-F1 %", "ECE", "women / men %",
)  # fmt: skip
PREDICTIONS = "predictions_test.csv"


@dataclass(frozen=True)
class Predictions:
    """One network's predictions for a split: samples, labels, probabilities (n, 7)."""

    sample_ids: list[str]
    labels: np.ndarray
    probs: np.ndarray

    @property
    def accuracy(self) -> float:
        return float((self.probs.argmax(axis=1) == self.labels).mean())


@dataclass(frozen=True)
class FoldScore:
    """Accuracy of one fold: of each seed alone, and of their average."""

    seeds: Mapping[str, float]
    averaged: float


@dataclass(frozen=True)
class NetworkScore:
    """A network over folds and seeds. metrics: of the seeds' averages, all folds together."""

    folds: Mapping[str, FoldScore]
    metrics: Metrics
    reliability: Sequence[Mapping[str, float]]

    @property
    def singles(self) -> list[float]:
        return [score for fold in self.folds.values() for score in fold.seeds.values()]

    @property
    def averages(self) -> list[float]:
        return [fold.averaged for fold in self.folds.values()]

    def to_dict(self) -> dict[str, Any]:
        """The network's entry in table.json."""
        return {
            "folds": {name: asdict(fold) for name, fold in self.folds.items()},
            "single_mean": float(np.mean(self.singles)),
            "single_deviation": float(np.std(self.singles)),
            "fold_mean": float(np.mean(self.averages)),
            "fold_deviation": float(np.std(self.averages)),
            "n_seeds": len(self.singles) // len(self.folds),
            "all": self.metrics.to_dict(),
            "reliability": list(self.reliability),
        }


def read_predictions(path: Path) -> Predictions:
    """predictions_test.csv of a stage; NaN rows where it abstained. Raises UsageError.

    As many clips as metrics.json beside it counts: a file may be cut between two lines.
    """
    scored = path.with_name(METRICS_FILE)
    metrics, again = read_record(scored), f"delete {path.parent.name}/ and train it again"
    with naming_content(scored, again):
        n_clips = int(metrics["test"]["n_clips"])
    try:
        with naming_content(path, again), open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
            if len(rows) != n_clips or any(None in r.values() for r in rows):
                raise ValueError(f"it is cut short: {n_clips} clips were evaluated")
            values = [[float(r[e]) if r[e] else np.nan for e in EMOTIONS] for r in rows]
            return Predictions(
                [r["sample_id"] for r in rows],
                np.array([EMOTION_INDEX[r["label"]] for r in rows], np.int64),
                np.array(values, np.float64).reshape(-1, N_EMOTIONS),
            )
    except OSError as e:
        raise UsageError(path, Reason.MISSING_STAGE, describe_error(e)) from None


def average(several: Sequence[Predictions]) -> Predictions:
    """Geometric mean of several networks' probabilities: the mean of their logits, as exported."""
    first = several[0]
    if any(p.sample_ids != first.sample_ids for p in several):
        raise ValueError("predictions for different clips")
    logs = np.mean([np.log(np.maximum(p.probs, 1e-12)) for p in several], axis=0)
    probs = np.exp(logs - logs.max(axis=1, keepdims=True))
    return Predictions(first.sample_ids, first.labels, probs / probs.sum(axis=1, keepdims=True))


def collect(
    plans: Sequence[Plan], stages: Sequence[str], samples: Sequence[Sample]
) -> dict[str, NetworkScore]:
    """Scores by network."""
    by_fold: dict[int | None, list[Plan]] = defaultdict(list)
    for plan in plans:
        by_fold[plan.fold].append(plan)
    return {name: _score(name, by_fold, {s.sample_id: s for s in samples}) for name in stages}


def _score(
    name: str, by_fold: Mapping[int | None, Sequence[Plan]], samples: Mapping[str, Sample]
) -> NetworkScore:
    folds: dict[str, FoldScore] = {}
    averages: list[Predictions] = []
    tested: list[Sample] = []
    for fold, plans in by_fold.items():
        paths = [plan.folder / name / PREDICTIONS for plan in plans]
        several = [read_predictions(path) for path in paths]
        with naming_content(paths[-1], "its runs differ"):
            averages.append(average(several))
            tested += [samples[sample_id] for sample_id in averages[-1].sample_ids]
        seeds = {str(p.seed): each.accuracy for p, each in zip(plans, several, strict=True)}
        folds[str(fold)] = FoldScore(seeds, averages[-1].accuracy)
    labels = np.concatenate([p.labels for p in averages])
    probs = np.concatenate([p.probs for p in averages])
    known = np.isfinite(probs).all(axis=1)
    metrics = measure(labels, probs, [s.speaker for s in tested], [s.gender for s in tested])
    return NetworkScore(folds, metrics, measure_reliability(labels[known], probs[known]))


def write_table(
    root: Path, plans: Sequence[Plan], stages: Sequence[str], samples: Sequence[Sample]
) -> str:
    """table.json, table.md and report.html below root; returns the Markdown.

    Without test speakers nothing is written, and the text is empty.
    """
    if not all((p.folder / s / PREDICTIONS).exists() for p in plans for s in stages):
        return ""
    scores = collect(plans, stages, samples)
    text = format_table(scores)
    write_json(root / TABLE_FILE, {name: score.to_dict() for name, score in scores.items()})
    write_text(root / "table.md", text)
    write_report_page(scores, root / "report.html")
    return text


def format_table(scores: Mapping[str, NetworkScore]) -> str:
    """A Markdown table of the networks; the interval resamples speakers."""
    rows = [HEADS, *(_list_cells(name, score) for name, score in scores.items())]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(HEADS))
    first = next(iter(scores.values()), None)
    majority = first.metrics.majority_accuracy if first else None
    lines.append(f"| majority class | | | {100 * (majority or 0):.1f} | 14.3 | | | |")
    return "\n".join(lines) + "\n"


def _list_cells(name: str, score: NetworkScore) -> tuple[str, ...]:
    metrics = score.metrics
    genders = [format_percent(group.accuracy) for _, group in sorted(metrics.by_gender.items())]
    return (
        name, format_spread(score.singles), format_spread(score.averages), str(metrics),
        format_percent(metrics.uar), format_percent(metrics.macro_f1), f"{metrics.ece:.3f}",
        " / ".join(genders),
    )  # fmt: skip


def write_report_page(scores: Mapping[str, NetworkScore], path: Path) -> None:
    """Write the page: scores of all networks, then confusion, calibration and speakers of each."""
    note = (
        "Accuracy per clip. The interval resamples speakers; ± is the deviation over folds and "
        "seeds. ECE: expected calibration error."
    )
    rows = [_list_cells(name, score) for name, score in scores.items()]
    sections = [f"<h1>{TITLE}</h1>", render_table(note, HEADS, rows)]
    for name, score in scores.items():
        alt = f"Confusion matrix and reliability of {name}"
        sections += [
            f"<h2>{escape(name)}</h2>",
            f'<img alt="{escape(alt)}" src="{_draw(score, name)}">',
            _folds(score),
            render_table("By speaker", ("speaker", "clips", "accuracy %", "UAR %"), [
                (who, group.n_clips, format_percent(group.accuracy), format_percent(group.uar))
                for who, group in score.metrics.by_speaker.items()
            ]),
        ]  # fmt: skip
    write_text(path, render_page(TITLE, sections))


def _folds(score: NetworkScore) -> str:
    rows = [
        (name, *map(format_percent, fold.seeds.values()), format_percent(fold.averaged))
        for name, fold in score.folds.items()
    ]
    seeds = [f"seed {s}" for s in next(iter(score.folds.values())).seeds]
    return render_table("Accuracy by fold, %", ("fold", *seeds, "averaged"), rows)


def _draw(score: NetworkScore, name: str) -> str:
    """Confusion matrix beside the reliability diagram, as a data URL of a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    shade_confusion(left, score.metrics, f"{name}: clips of all folds")
    bins = score.reliability
    right.plot([0, 1], [0, 1], color="gray", linestyle="--", label="perfect")
    right.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", label=name)
    right.set_xlabel("confidence")
    right.set_ylabel("accuracy")
    right.set_title(f"reliability, ECE {score.metrics.ece:.3f}")
    right.legend()
    right.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return encode_image(image.getvalue(), "png")


def format_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent, as ``81.8 ± 2.1``."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"
