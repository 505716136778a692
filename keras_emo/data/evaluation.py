"""A bundle scored on labelled clips, through the same predictor that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_emo.errors import ClipError
from keras_emo.inference.model import Model
from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.metrics import measure


@dataclass(frozen=True)
class LabeledClip:
    """A clip, its truth and who speaks."""

    sample_id: str
    source: ClipSource
    label: int
    speaker: str
    gender: str


Part = tuple[Callable[[], Model], Sequence[LabeledClip]]


def evaluate_clips(
    predictor: Model,
    clips: Sequence[LabeledClip],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Figures of one predictor, see evaluate_parts."""
    return evaluate_parts([(lambda: predictor, clips)], progress)


def evaluate_parts(
    parts: Sequence[Part], progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Figures over all clips and the answer to each; a clip that fails counts as wrong.

    parts: what opens a predictor, and the clips that it answers; several where each network has
    test speakers of its own. Returns plain values: core.metrics.report, ``clips`` (take, label,
    answer, probs), ``n_degraded`` (answers counted in although a modality was missing or the file
    damaged), ``failures`` and ``clips_per_second``.
    """
    every = [clip for _, clips in parts for clip in clips]
    probs = np.full((len(every), N_EMOTIONS), np.nan, np.float32)
    failures: list[dict[str, str]] = []
    rows: list[dict[str, Any]] = []
    n_degraded, spent_s = 0, 0.0
    for open_predictor, clips in parts:
        predictor = open_predictor()
        started_s = time.perf_counter()
        for clip in clips:
            row: dict[str, Any] = {"take_id": clip.sample_id, "label": EMOTIONS[clip.label]}
            try:
                answer = predictor.predict(clip.source)
            except ClipError as e:
                failures.append({"path": e.path, "reason": str(e.reason), "cause": e.cause})
                row |= {"answer": None, "reason": str(e.reason)}
            else:
                probs[len(rows)] = list(answer.probs.values())
                n_degraded += answer.degraded
                row |= {
                    "answer": answer.label,
                    "probs": [round(p, 6) for p in answer.probs.values()],
                    "modalities": list(answer.modalities),
                    "states": [str(s) for s in answer.states],
                    "warnings": list(answer.warnings),
                }
            rows.append(row)
            if progress:
                progress(len(rows), len(every))
        spent_s += time.perf_counter() - started_s
    metrics = measure(
        np.array([c.label for c in every]),
        probs,
        [c.speaker for c in every],
        [c.gender for c in every],
    )
    return {
        **metrics.to_dict(),
        "n_degraded": n_degraded,
        "clips_per_second": round(len(every) / spent_s, 3) if every else 0.0,
        "failures": failures,
        "clips": rows,
    }
