"""What face and voice say alone, beside what both say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import can_predict
from keras_emo.labels import EMOTIONS

MODALITIES = ("face", "voice")
Parts = Mapping[str, np.ndarray]


def split_parts(inputs: ClipInputs, names: Sequence[str]) -> dict[str, ClipInputs]:
    """The clip with one modality alone, by modality, of those it has and can be answered from.

    names: inputs of the network. One without masks answers from no modality alone.
    """
    alone = {"face": replace(inputs, mfcc=None), "voice": replace(inputs, face=None)}
    return {name: part for name, part in alone.items() if can_predict(part, names)}


def name_probs(probs: np.ndarray | None) -> dict[str, float] | None:
    """Probabilities (7,) by emotion, as every answer is written; None stays."""
    if probs is None:
        return None
    return {name: round(float(p), 6) for name, p in zip(EMOTIONS, probs, strict=True)}


def describe_parts(parts: Parts | None) -> dict[str, Any]:
    """``probs_face`` and ``probs_voice``, None where it says nothing; {} if not asked for."""
    if parts is None:
        return {}
    return {f"probs_{name}": name_probs(parts.get(name)) for name in MODALITIES}
