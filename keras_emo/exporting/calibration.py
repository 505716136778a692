"""Which clips int8 is fitted on, and whether it answers as well: the gate of a quantisation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from keras_emo.core.errors import Reason, UsageError
from keras_emo.core.inputs import Feed, Run, answer_clips, can_answer, feed_clips
from keras_emo.core.labels import EMOTIONS, N_EMOTIONS
from keras_emo.core.metrics import confusion, score
from keras_emo.data.takes import Take
from keras_emo.exporting.onnx import ExportError
from keras_emo.exporting.quantize import METHOD, open_run, quantize_int8
from keras_emo.models.registry import ModelEntry
from keras_emo.training.data import Prepared

CLIPS_A_CLASS = 20
MAX_DROP_POINTS = 1.0
BLOCK = 8  # clips in memory at a time


@dataclass(frozen=True)
class Gate:
    """A run's clips, and how many points of accuracy int8 may cost."""

    prepared: Prepared
    max_drop_points: float = MAX_DROP_POINTS
    clips_a_class: int = CLIPS_A_CLASS


def quantize_gated(
    proto: onnx.ModelProto, entry: ModelEntry, gate: Gate, name: str
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The int8 network and what a bundle says of it.

    Calibrated on training speakers. Raises ExportError where the accuracy on validation speakers
    falls by more than the gate allows; test speakers are scored afterwards, for the record.
    """
    prepared = gate.prepared
    if not prepared.split.val:
        cause = "int8 is checked on validation speakers, of whom the run has none"
        raise UsageError(name, Reason.BAD_SPLIT, cause)
    takes = choose_takes(prepared, entry, gate.clips_a_class)
    small = quantize_int8(proto, read_feeds(takes, entry, prepared), name)
    runs = {"fp32": open_run(proto), "int8": open_run(small)}
    scores = {"val": score_part(runs, entry, prepared, "val")}
    check_drop(scores["val"], gate.max_drop_points, name)
    if prepared.split.test:
        scores["test"] = score_part(runs, entry, prepared, "test")
    return small, {
        "precision": "int8",
        "quantisation": {
            "method": METHOD,
            "calibration": {
                "n_clips": len(takes),
                "speakers": sorted({t.speaker for t in takes}),
            },
            "max_drop_points": gate.max_drop_points,
            "accuracy": scores,
            "bytes": {"fp32": proto.ByteSize(), "int8": small.ByteSize()},
        },
    }


def choose_takes(prepared: Prepared, entry: ModelEntry, n_a_class: int) -> list[Take]:
    """Takes of training speakers that the network can answer, as many of each class.

    The same ones for the same corpus and split. Raises UsageError where there are none.
    """
    ranked = sorted(
        (t for t in prepared.takes("train") if t.take_id in prepared.cache.files),
        key=lambda t: hashlib.sha256(t.take_id.encode()).digest(),
    )
    chosen: list[Take] = []
    for emotion in EMOTIONS:
        usable = (t for t in ranked if t.emotion == emotion and _serves(t, entry, prepared))
        chosen += [t for t, _ in zip(usable, range(n_a_class), strict=False)]
    known = {*prepared.split.val, *prepared.split.test}
    if not chosen or any(t.speaker in known for t in chosen):
        cause = "calibration needs clips of training speakers, and of nobody else"
        raise UsageError(entry.name, Reason.NO_CLIPS, cause)
    return chosen


def read_feeds(takes: list[Take], entry: ModelEntry, prepared: Prepared) -> Iterator[Feed]:
    """What the network takes of one clip after another."""
    for take in takes:
        yield feed_clips([prepared.load(take)], entry.inputs, entry.frames, prepared.spec)


def score_part(
    runs: dict[str, Run], entry: ModelEntry, prepared: Prepared, part: str
) -> dict[str, Any]:
    """Accuracy per clip of each network on a part, and on how many clips they agree.

    A clip that failed or lacks the modality counts as wrong, as everywhere.
    """
    takes = prepared.takes(part)
    probs = {k: np.full((len(takes), N_EMOTIONS), np.nan, np.float32) for k in runs}
    ready = [i for i, t in enumerate(takes) if t.take_id in prepared.cache.files]
    for start in range(0, len(ready), BLOCK):
        block = ready[start : start + BLOCK]
        clips = [prepared.load(takes[i]) for i in block]
        for key, run in runs.items():
            probs[key][block] = answer_clips(
                run, clips, entry.inputs, entry.frames, prepared.spec, BLOCK
            )
    labels = np.array([t.label for t in takes], np.int64)
    answers = {
        k: np.where(np.isfinite(p).all(axis=1), p.argmax(axis=1), -1) for k, p in probs.items()
    }
    first, *others = answers.values()
    return {
        "n_clips": len(takes),
        **{k: score(confusion(labels, a))["accuracy"] for k, a in answers.items()},
        "agreement": float(np.mean([first == other for other in others])),
    }


def check_drop(scores: dict[str, Any], max_drop_points: float, name: str) -> None:
    """Raise ExportError where int8 answers fewer validation clips than it may."""
    before, after = (100 * scores[k] for k in ("fp32", "int8"))
    if before - after > max_drop_points + 1e-9:
        cause = (
            f"int8 answers {after:.2f} % of the validation clips right, fp32 {before:.2f} %: "
            f"more than {max_drop_points:g} points less; nothing was written"
        )
        raise ExportError(name, Reason.ACCURACY_DROP, cause)


def _serves(take: Take, entry: ModelEntry, prepared: Prepared) -> bool:
    return can_answer(prepared.load(take), entry.inputs)
