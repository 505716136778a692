"""Which clips int8 is fitted on, and how well it answers beside float32."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_emo.data.corpus import Sample
from keras_emo.errors import Reason, UsageError
from keras_emo.inference.batch import Batch, Run, can_predict, collate_clips, predict_clips
from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.metrics import score
from keras_emo.networks.catalog import ModelEntry
from keras_emo.training.data import Prepared

CLIPS_A_CLASS = 20
BLOCK = 8  # clips in memory at a time


def choose_samples(prepared: Prepared, entry: ModelEntry, n_a_class: int) -> list[Sample]:
    """Takes of training speakers that the network can answer, as many of each class.

    The same ones for the same corpus and split. Raises UsageError where there are none.
    """
    ranked = sorted(
        (t for t in prepared.samples("train") if t.sample_id in prepared.cache.files),
        key=lambda t: hashlib.sha256(t.sample_id.encode()).digest(),
    )
    chosen: list[Sample] = []
    for emotion in EMOTIONS:
        usable = (t for t in ranked if t.emotion == emotion and _serves(t, entry, prepared))
        chosen += [t for t, _ in zip(usable, range(n_a_class), strict=False)]
    known = {*prepared.split.val, *prepared.split.test}
    if not chosen or any(t.speaker in known for t in chosen):
        cause = "calibration needs clips of training speakers, and of nobody else"
        raise UsageError(entry.name, Reason.NO_CLIPS, cause)
    return chosen


def read_feeds(samples: list[Sample], entry: ModelEntry, prepared: Prepared) -> Iterator[Batch]:
    """What the network takes of one clip after another."""
    for sample in samples:
        yield collate_clips([prepared.load(sample)], entry.inputs, entry.frames, prepared.spec)


def score_part(
    runs: dict[str, Run], entry: ModelEntry, prepared: Prepared, part: str
) -> dict[str, Any]:
    """Accuracy per clip of each network on a part, and on how many clips they agree.

    A clip that failed or lacks the modality counts as wrong, as everywhere.
    """
    samples = prepared.samples(part)
    probs = {k: np.full((len(samples), N_EMOTIONS), np.nan, np.float32) for k in runs}
    ready = [i for i, t in enumerate(samples) if t.sample_id in prepared.cache.files]
    for start in range(0, len(ready), BLOCK):
        block = ready[start : start + BLOCK]
        clips = [prepared.load(samples[i]) for i in block]
        for key, run in runs.items():
            probs[key][block] = predict_clips(
                run, clips, entry.inputs, entry.frames, prepared.spec, BLOCK
            )
    labels = np.array([t.label for t in samples], np.int64)
    answers = {
        k: np.where(np.isfinite(p).all(axis=1), p.argmax(axis=1), -1) for k, p in probs.items()
    }
    first, *others = answers.values()
    return {
        "n_clips": len(samples),
        **{k: score(labels, a).accuracy for k, a in answers.items()},
        "agreement": float(np.mean([first == other for other in others])),
    }


def _serves(sample: Sample, entry: ModelEntry, prepared: Prepared) -> bool:
    return can_predict(prepared.load(sample), entry.inputs)
