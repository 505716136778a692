"""A bundle scored on labelled clips, through the same predictor that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_emo.core.errors import ClipError
from keras_emo.core.labels import EMOTIONS, N_EMOTIONS
from keras_emo.core.media import ClipSource
from keras_emo.core.metrics import report
from keras_emo.runtime.predictor import Predictor


@dataclass(frozen=True)
class LabelledClip:
    """A clip, its truth and who speaks."""

    take_id: str
    source: ClipSource
    label: int
    speaker: str
    gender: str


def evaluate_clips(
    predictor: Predictor,
    clips: Sequence[LabelledClip],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Figures over all clips and the answer to each; a clip that fails counts as wrong.

    Returns plain values: core.metrics.report, ``clips`` (take, label, answer, probs),
    ``n_degraded`` (answers counted in although a modality was missing or the file damaged),
    ``failures`` and ``clips_per_second``.
    """
    probs = np.full((len(clips), N_EMOTIONS), np.nan, np.float32)
    failures, rows, n_degraded = [], [], 0
    started_s = time.perf_counter()
    for i, clip in enumerate(clips):
        row: dict[str, Any] = {"take_id": clip.take_id, "label": EMOTIONS[clip.label]}
        try:
            answer = predictor.predict(clip.source)
        except ClipError as e:
            failures.append({"path": e.path, "reason": str(e.reason), "cause": e.cause})
            row |= {"answer": None, "reason": str(e.reason)}
        else:
            probs[i] = answer.probs
            n_degraded += answer.degraded
            row |= {
                "answer": answer.label,
                "probs": [round(float(p), 6) for p in answer.probs],
                "modalities": answer.modalities,
                "states": [str(s) for s in answer.states],
                "warnings": answer.warnings,
            }
        rows.append(row)
        if progress:
            progress(i + 1, len(clips))
    spent_s = time.perf_counter() - started_s
    figures = report(
        np.array([c.label for c in clips]),
        probs,
        [c.speaker for c in clips],
        [c.gender for c in clips],
    )
    return {
        **figures,
        "n_degraded": n_degraded,
        "clips_per_second": round(len(clips) / spent_s, 3) if clips else 0.0,
        "failures": failures,
        "clips": rows,
    }
