"""Metrics of a set of predictions: accuracy, UAR, macro-F1, calibration, intervals by speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.records import read_fields

ABSTAINED = -1  # a clip without a prediction; it counts as wrong

Interval = tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """As scikit-learn's accuracy_score, balanced_accuracy_score and f1_score(average='macro').

    uar, the mean recall, and macro_f1 are means over the classes that occur among the labels.
    """

    accuracy: float
    uar: float
    macro_f1: float


@dataclass(frozen=True)
class GroupScores(Scores):
    """Scores of one speaker, or of one gender."""

    n_clips: int


@dataclass(frozen=True)
class Metrics(Scores):
    """Everything that is measured of a set of predictions.

    intervals: 95 % bootstrap intervals of the scores, by their names. ece: expected calibration
    error; None without predictions. recall: by emotion; None for one that does not occur.
    by_gender: empty where genders are not known. The fields after it are left out of a bundle:
    majority_accuracy, of always predicting the most frequent class; confusion, a row for each true
    class and a column for each prediction, the last for abstentions; by_speaker.
    """

    n_clips: int
    n_speakers: int
    n_abstained: int
    intervals: Mapping[str, Interval]
    ece: float | None
    recall: Mapping[str, float | None]
    by_gender: Mapping[str, GroupScores] = field(default_factory=dict)
    majority_accuracy: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    by_speaker: Mapping[str, GroupScores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not {"accuracy", "uar", "macro_f1"} <= set(self.intervals):
            raise ValueError(f"intervals of {sorted(self.intervals)}, not of every score")

    def __str__(self) -> str:
        return self.format()

    def format(self, name: str = "accuracy") -> str:
        """A score in percent with its interval, as ``81.8 (76.9 to 86.2)``."""
        return format_percent(getattr(self, name), self.intervals[name])

    def summarize(self) -> Metrics:
        """Without the confusion matrix, the speakers and the baseline, as a bundle keeps them."""
        return replace(self, majority_accuracy=None, confusion=(), by_speaker={})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Metrics:
        """Inverse of to_dict; other keys are ignored. Raises KeyError, TypeError or ValueError."""
        counts = data["confusion"]["counts"] if "confusion" in data else []
        renamed = {"intervals": data["interval_95"], "confusion": counts}
        return read_fields(cls, {**data, **renamed})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as metrics.json, bundle.json and ``evaluate --json`` have them."""
        names = ("n_clips", "n_speakers", "n_abstained", "accuracy", "uar", "macro_f1")
        result: dict[str, Any] = {name: getattr(self, name) for name in names}
        result["interval_95"] = {name: list(bounds) for name, bounds in self.intervals.items()}
        result["ece"] = self.ece
        if self.majority_accuracy is not None:
            result["majority_accuracy"] = self.majority_accuracy
        result["recall"] = dict(self.recall)
        if self.confusion:
            counts = [list(row) for row in self.confusion]
            result["confusion"] = {"labels": [*EMOTIONS, "abstained"], "counts": counts}
        for key, groups in (("by_speaker", self.by_speaker), ("by_gender", self.by_gender)):
            if groups:
                result[key] = {name: asdict(scores) for name, scores in groups.items()}
        return result


def format_percent(value: float, interval: Interval | None = None) -> str:
    """A proportion in percent, ``81.8``, with an interval ``81.8 (76.9 to 86.2)``."""
    text = f"{100 * value:.1f}"
    return text if interval is None else f"{text} ({format_interval(interval)})"


def format_interval(interval: Interval) -> str:
    """Two proportions in percent, ``76.9 to 86.2``."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def count_confusion(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Counts int64 (7, 8): rows are true classes, columns predictions, the last abstentions."""
    columns = np.where(predictions == ABSTAINED, N_EMOTIONS, predictions)
    counts = np.zeros((N_EMOTIONS, N_EMOTIONS + 1), np.int64)
    np.add.at(counts, (labels, columns), 1)
    return counts


def score(labels: np.ndarray, predictions: np.ndarray) -> Scores:
    """Scores of predicted classes; ABSTAINED counts as wrong."""
    return score_counts(count_confusion(labels, predictions))


def score_counts(counts: np.ndarray) -> Scores:
    """Scores of a confusion matrix, see count_confusion."""
    hits = np.diag(counts[:, :N_EMOTIONS]).astype(float)
    truth = counts.sum(axis=1)
    predicted = counts[:, :N_EMOTIONS].sum(axis=0)
    present = truth > 0
    f1 = 2 * hits / np.maximum(truth + predicted, 1)
    return Scores(
        accuracy=float(hits.sum() / max(truth.sum(), 1)),
        uar=float((hits[present] / truth[present]).mean()) if present.any() else 0.0,
        macro_f1=float(f1[present].mean()) if present.any() else 0.0,
    )


def bootstrap_intervals(
    labels: np.ndarray, predictions: np.ndarray, speakers: Sequence[str]
) -> dict[str, Interval]:
    """95 % bootstrap intervals of the scores, resampling whole speakers with replacement.

    Clips of one speaker are not independent, so the speaker is the unit. With few speakers the
    interval is a lower bound on the uncertainty; without any it is 0 to 1.
    """
    names = sorted(set(speakers))
    if not names:
        return dict.fromkeys(("accuracy", "uar", "macro_f1"), (0.0, 1.0))
    who = np.array(speakers)
    tables = np.stack([count_confusion(labels[who == n], predictions[who == n]) for n in names])
    rng = np.random.default_rng(0)
    draws = [
        asdict(score_counts(tables[rng.integers(0, len(names), len(names))].sum(axis=0)))
        for _ in range(2000)
    ]
    bounds = {key: np.percentile([d[key] for d in draws], [2.5, 97.5]) for key in draws[0]}
    return {key: (float(low), float(high)) for key, (low, high) in bounds.items()}


def measure_reliability(labels: np.ndarray, probs: np.ndarray) -> list[dict[str, float]]:
    """For each tenth of the top class's confidence: its mean, the accuracy, the number of clips."""
    top = probs.max(axis=1)
    right = probs.argmax(axis=1) == labels
    bins = np.minimum((top * 10).astype(int), 9)
    return [
        {
            "confidence": float(top[bins == b].mean()),
            "accuracy": float(right[bins == b].mean()),
            "n_clips": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def calibration_error(labels: np.ndarray, probs: np.ndarray) -> float:
    """Expected calibration error of the top class (Guo et al. 2017, arXiv:1706.04599)."""
    bins = measure_reliability(labels, probs)
    gaps = [abs(b["confidence"] - b["accuracy"]) * b["n_clips"] for b in bins]
    return float(sum(gaps) / len(labels))


def measure(
    labels: np.ndarray, probs: np.ndarray, speakers: Sequence[str], genders: Sequence[str] = ()
) -> Metrics:
    """The metrics of a set of predictions.

    labels: int (n,). probs: float (n, 7), a row of NaN where the model abstained.
    """
    labels = np.asarray(labels, np.int64)  # an empty list would be float
    known = np.isfinite(probs).all(axis=1)
    predictions = np.full(len(labels), ABSTAINED)
    predictions[known] = probs[known].argmax(axis=1)
    counts = count_confusion(labels, predictions)
    truth = counts.sum(axis=1)

    def group(names: Sequence[str]) -> dict[str, GroupScores]:
        chosen = {name: np.array(names) == name for name in sorted(set(names))}
        return {
            name: GroupScores(**asdict(score(labels[c], predictions[c])), n_clips=int(c.sum()))
            for name, c in chosen.items()
        }

    return Metrics(
        **asdict(score_counts(counts)),
        n_clips=len(labels),
        n_speakers=len(set(speakers)),
        n_abstained=int((~known).sum()),
        intervals=bootstrap_intervals(labels, predictions, speakers),
        ece=calibration_error(labels[known], probs[known]) if known.any() else None,
        recall={
            name: float(counts[i, i] / truth[i]) if truth[i] else None
            for i, name in enumerate(EMOTIONS)
        },
        by_gender=group(genders),
        majority_accuracy=float(truth.max() / max(len(labels), 1)),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        by_speaker=group(speakers),
    )
