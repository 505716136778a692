"""Figures for a set of answers: accuracy, UAR, macro-F1, calibration, intervals over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_emo.labels import EMOTIONS, N_EMOTIONS

ABSTAINED = -1  # a clip without an answer; it counts as wrong


def confusion(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Counts int64 (7, 8): rows are true classes, columns answers, the last one abstentions."""
    columns = np.where(answers == ABSTAINED, N_EMOTIONS, answers)
    counts = np.zeros((N_EMOTIONS, N_EMOTIONS + 1), np.int64)
    np.add.at(counts, (labels, columns), 1)
    return counts


def score(counts: np.ndarray) -> dict[str, float]:
    """accuracy, uar (mean recall over classes present) and macro_f1 of a confusion matrix.

    As sklearn's accuracy_score, balanced_accuracy_score and f1_score(average='macro') over the
    classes that occur among the labels.
    """
    hits = np.diag(counts[:, :N_EMOTIONS]).astype(float)
    truth = counts.sum(axis=1)
    said = counts[:, :N_EMOTIONS].sum(axis=0)
    present = truth > 0
    f1 = 2 * hits / np.maximum(truth + said, 1)
    return {
        "accuracy": float(hits.sum() / max(truth.sum(), 1)),
        "uar": float((hits[present] / truth[present]).mean()) if present.any() else 0.0,
        "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
    }


def interval(
    labels: np.ndarray,
    answers: np.ndarray,
    speakers: Sequence[str],
    n_draws: int = 2000,
    seed: int = 0,
) -> dict[str, list[float]]:
    """95 % bootstrap intervals of score(), resampling whole speakers with replacement.

    Clips of one speaker are not independent, so the speaker is the unit. With few speakers the
    interval is coarse: read it as a lower bound on the uncertainty. Without any speaker
    nothing is known: 0 to 1.
    """
    names = sorted(set(speakers))
    if not names:
        return {key: [0.0, 1.0] for key in score(confusion(labels, answers))}
    who = np.array(speakers)
    tables = np.stack([confusion(labels[who == n], answers[who == n]) for n in names])
    rng = np.random.default_rng(seed)
    draws = [
        score(tables[rng.integers(0, len(names), len(names))].sum(axis=0)) for _ in range(n_draws)
    ]
    bounds = {}
    for key in draws[0]:
        low, high = np.percentile([d[key] for d in draws], [2.5, 97.5])
        bounds[key] = [float(low), float(high)]
    return bounds


def measure_reliability(
    labels: np.ndarray, probs: np.ndarray, n_bins: int = 10
) -> list[dict[str, float]]:
    """For each bin of the top class's confidence: its mean, the share right, the clips."""
    top = probs.max(axis=1)
    right = probs.argmax(axis=1) == labels
    bins = np.minimum((top * n_bins).astype(int), n_bins - 1)
    return [
        {
            "confidence": float(top[bins == b].mean()),
            "accuracy": float(right[bins == b].mean()),
            "n_clips": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def calibration_error(labels: np.ndarray, probs: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error of the top class (Guo et al. 2017, arXiv:1706.04599)."""
    bins = measure_reliability(labels, probs, n_bins)
    gaps = [abs(b["confidence"] - b["accuracy"]) * b["n_clips"] for b in bins]
    return float(sum(gaps) / len(labels))


def report(
    labels: np.ndarray,
    probs: np.ndarray,
    speakers: Sequence[str],
    genders: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Everything that metrics.json and ``evaluate`` say of a set of answers.

    labels: int (n,). probs: float (n, 7), a row of NaN where the model abstained. Returns
    plain Python values.
    """
    labels = np.asarray(labels, np.int64)  # an empty list would be float
    answered = np.isfinite(probs).all(axis=1)
    answers = np.full(len(labels), ABSTAINED)
    answers[answered] = probs[answered].argmax(axis=1)
    counts = confusion(labels, answers)
    truth = counts.sum(axis=1)
    who = np.array(speakers)

    def part(chosen: np.ndarray) -> dict[str, Any]:
        figures = score(confusion(labels[chosen], answers[chosen]))
        return {"n_clips": int(chosen.sum()), **figures}

    result: dict[str, Any] = {
        "n_clips": len(labels),
        "n_speakers": len(set(speakers)),
        "n_abstained": int((~answered).sum()),
        **score(counts),
        "interval_95": interval(labels, answers, speakers),
        "ece": calibration_error(labels[answered], probs[answered]) if answered.any() else None,
        "majority_accuracy": float(truth.max() / max(len(labels), 1)),
        "recall": {
            name: float(counts[i, i] / truth[i]) if truth[i] else None
            for i, name in enumerate(EMOTIONS)
        },
        "confusion": {"labels": [*EMOTIONS, "abstained"], "counts": counts.tolist()},
        "by_speaker": {name: part(who == name) for name in sorted(set(speakers))},
    }
    if genders is not None:
        sex = np.array(genders)
        result["by_gender"] = {name: part(sex == name) for name in sorted(set(genders))}
    return result
