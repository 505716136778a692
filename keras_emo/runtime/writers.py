"""Answers for people and for files, one writer a format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence

from keras_emo.core.labels import EMOTIONS
from keras_emo.runtime.predictor import Prediction


def write_text(predictions: Sequence[Prediction]) -> str:
    """One line a clip: path, label, its probability, modalities used."""
    return "".join(
        f"{p.path}  {p.label} {p.probs.max():.2f}  from {' and '.join(p.modalities)}"
        f"  face in {p.frames_with_face} of {p.frames_examined} frames\n"
        for p in predictions
    )


def write_json(predictions: Sequence[Prediction]) -> str:
    """A JSON array with one object a clip, see Prediction.to_dict."""
    return json.dumps([p.to_dict() for p in predictions], indent=1, ensure_ascii=False) + "\n"


def write_csv(predictions: Sequence[Prediction]) -> str:
    """A header and one line a clip."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "path", "label", *EMOTIONS, "modalities", "frames_with_face", "frames_examined",
        "duration_s",
    ])  # fmt: skip
    for p in predictions:
        writer.writerow([
            p.path, p.label, *(f"{v:.6f}" for v in p.probs), "+".join(p.modalities),
            p.frames_with_face, p.frames_examined, f"{p.duration_s:.3f}",
        ])  # fmt: skip
    return text.getvalue()


WRITERS: dict[str, Callable[[Sequence[Prediction]], str]] = {
    "text": write_text,
    "json": write_json,
    "csv": write_csv,
}
