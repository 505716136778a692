"""Models scored on labeled samples, through the same Model that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_emo.data.corpus import Sample
from keras_emo.errors import ClipError
from keras_emo.inference.model import Model
from keras_emo.inference.results import Prediction
from keras_emo.labels import N_EMOTIONS
from keras_emo.metrics import Metrics, measure

# Loads a model, and the samples that it is scored on.
Job = tuple[Callable[[], Model], Sequence[Sample]]


@dataclass(frozen=True)
class SampleResult:
    """What was predicted for a sample, or why it failed."""

    sample: Sample
    result: Prediction | ClipError

    def to_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = {"sample_id": self.sample.sample_id, "label": self.sample.emotion}
        if isinstance(self.result, ClipError):
            return row | {"prediction": None, "reason": str(self.result.reason)}
        return row | {
            "prediction": self.result.label,
            "probs": [round(p, 6) for p in self.result.probs.values()],
            "modalities": list(self.result.modalities),
            "states": [str(s) for s in self.result.states],
            "warnings": list(self.result.warnings),
        }


@dataclass(frozen=True)
class CorpusEvaluation:
    """Metrics over samples, of which one that failed counts as wrong, and the result of each."""

    metrics: Metrics
    results: tuple[SampleResult, ...]
    clips_per_second: float

    @property
    def failures(self) -> list[ClipError]:
        return [r.result for r in self.results if isinstance(r.result, ClipError)]

    @property
    def n_degraded(self) -> int:
        """Predictions without a modality, or of a damaged file."""
        return sum(isinstance(r.result, Prediction) and r.result.degraded for r in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``evaluate --json`` has them."""
        return {
            **self.metrics.to_dict(),
            "n_degraded": self.n_degraded,
            "clips_per_second": self.clips_per_second,
            "failures": [
                {"path": f.path, "reason": str(f.reason), "cause": f.cause} for f in self.failures
            ],
            "clips": [r.to_dict() for r in self.results],
        }


def evaluate_models(jobs: Sequence[Job], progress: Callable[[int, int], None]) -> CorpusEvaluation:
    """Evaluate models, each on samples of its own: the folds of a cross-validation."""
    results: list[SampleResult] = []
    n_samples, spent_s = sum(len(samples) for _, samples in jobs), 0.0
    for load, samples in jobs:
        model = load()
        started_s = time.perf_counter()
        for sample in samples:
            result: Prediction | ClipError
            try:
                result = model.predict(sample.source)
            except ClipError as e:
                result = e
            results.append(SampleResult(sample, result))
            progress(len(results), n_samples)
        spent_s += time.perf_counter() - started_s
    probs = np.full((n_samples, N_EMOTIONS), np.nan, np.float32)
    for row, r in zip(probs, results, strict=True):
        if isinstance(r.result, Prediction):
            row[:] = list(r.result.probs.values())
    metrics = measure(
        np.array([r.sample.label for r in results]),
        probs,
        [r.sample.speaker for r in results],
        [r.sample.gender for r in results],
    )
    return CorpusEvaluation(metrics, tuple(results), round(n_samples / spent_s, 3))
