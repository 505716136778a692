"""Figures over folds and seeds: what the headline is, and what it rests on."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.data.corpus import Sample
from keras_emo.errors import Reason, UsageError, describe_error
from keras_emo.io import naming_content, read_record, write_json, write_text
from keras_emo.labels import EMOTION_INDEX, EMOTIONS, N_EMOTIONS
from keras_emo.metrics import Metrics, format_percent, measure, measure_reliability
from keras_emo.training.folds import Plan
from keras_emo.training.report import write_report_page
from keras_emo.training.run import METRICS_FILE

TABLE_FILE = "table.json"
PREDICTIONS = "predictions_test.csv"


@dataclass
class Answers:
    """One network's answers to the clips of a part: ids, labels, probabilities (n, 7)."""

    take_ids: list[str]
    labels: np.ndarray
    probs: np.ndarray


def read_predictions(path: Path) -> Answers:
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
                raise ValueError(f"it is cut short: {n_clips} clips were scored")
            values = [[float(r[e]) if r[e] else np.nan for e in EMOTIONS] for r in rows]
            return Answers(
                [r["take_id"] for r in rows],
                np.array([EMOTION_INDEX[r["label"]] for r in rows], np.int64),
                np.array(values, np.float64).reshape(-1, N_EMOTIONS),
            )
    except OSError as e:
        raise UsageError(path, Reason.MISSING_STAGE, describe_error(e)) from None


def average(answers: Sequence[Answers]) -> Answers:
    """Geometric mean of several networks' probabilities: the mean of their logits, as shipped."""
    first = answers[0]
    if any(a.take_ids != first.take_ids for a in answers):
        raise ValueError("answers to different clips")
    logs = np.mean([np.log(np.maximum(a.probs, 1e-12)) for a in answers], axis=0)
    probs = np.exp(logs - logs.max(axis=1, keepdims=True))
    return Answers(first.take_ids, first.labels, probs / probs.sum(axis=1, keepdims=True))


def collect(
    plans: Sequence[Plan], stages: Sequence[str], samples: Sequence[Sample]
) -> dict[str, Any]:
    """Figures by network: every fold and seed alone, seeds averaged, all folds together."""
    known = {t.sample_id: t for t in samples}
    by_fold: dict[int | None, list[Plan]] = defaultdict(list)
    for plan in plans:
        by_fold[plan.fold].append(plan)
    result: dict[str, Any] = {}
    for name in stages:
        folds: dict[str, dict[str, Any]] = {}
        singles: list[float] = []
        joined: list[Answers] = []
        together: list[Sample] = []
        for fold, members in by_fold.items():
            read = [read_predictions(p.folder / name / PREDICTIONS) for p in members]
            scores = [float((a.probs.argmax(axis=1) == a.labels).mean()) for a in read]
            with naming_content(members[-1].folder / name / PREDICTIONS, "its runs differ"):
                both = average(read)
                together += [known[t] for t in both.take_ids]
            joined.append(both)
            singles += scores
            folds[str(fold)] = {
                "seeds": {str(p.seed): s for p, s in zip(members, scores, strict=True)},
                "averaged": float((both.probs.argmax(axis=1) == both.labels).mean()),
            }
        labels = np.concatenate([a.labels for a in joined])
        probs = np.concatenate([a.probs for a in joined])
        answered = np.isfinite(probs).all(axis=1)
        averaged = [f["averaged"] for f in folds.values()]
        result[name] = {
            "folds": folds,
            "single_mean": float(np.mean(singles)),
            "single_deviation": float(np.std(singles)),
            "fold_mean": float(np.mean(averaged)),
            "fold_deviation": float(np.std(averaged)),
            "n_seeds": len(next(iter(by_fold.values()))),
            "all": measure(
                labels, probs, [t.speaker for t in together], [t.gender for t in together]
            ).to_dict(),
            "reliability": measure_reliability(labels[answered], probs[answered]),
        }
    return result


def write_table(
    root: Path, plans: Sequence[Plan], stages: Sequence[str], samples: Sequence[Sample]
) -> str:
    """table.json, table.md and report.html below root; returns the Markdown.

    Runs without test speakers have nothing to say here: an empty text.
    """
    if not all((p.folder / s / PREDICTIONS).exists() for p in plans for s in stages):
        return ""
    figures = collect(plans, stages, samples)
    text = format_table(figures)
    write_json(root / TABLE_FILE, figures)
    write_text(root / "table.md", text)
    write_report_page(figures, root / "report.html")
    return text


def format_table(figures: dict[str, Any]) -> str:
    """A Markdown table of the networks; the interval resamples actors."""
    lines = [
        "| network | one seed, mean ± sd % | seeds averaged, folds mean ± sd % "
        "| accuracy % (95 %) | UAR % | macro-F1 % | ECE | women / men % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        every = Metrics.from_dict(row["all"])
        genders = " / ".join(
            format_percent(scores.accuracy) for _, scores in sorted(every.by_gender.items())
        )
        lines.append(
            f"| {name} | {100 * row['single_mean']:.1f} ± {100 * row['single_deviation']:.1f} "
            f"| {100 * row['fold_mean']:.1f} ± {100 * row['fold_deviation']:.1f} "
            f"| {every} "
            f"| {format_percent(every.uar)} | {format_percent(every.macro_f1)} "
            f"| {every.ece:.3f} | {genders} |"
        )
    majority = next(iter(figures.values()))["all"]["majority_accuracy"] if figures else 0.0
    lines.append(f"| majority class | | | {100 * majority:.1f} | 14.3 | | | |")
    return "\n".join(lines) + "\n"
