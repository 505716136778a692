"""Predictions of a Keras network, and what a run folder keeps of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.data.clips import StoredClip
from keras_emo.data.corpus import Sample
from keras_emo.inference.batch import Batch, Run, predict_clips
from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.metrics import Metrics
from keras_emo.networks import ModelEntry
from keras_emo.spec import ClipSpec


def run_keras(model: keras.Model) -> Run:
    """A function from a batch to numpy outputs, traced once per input rank."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in model.input.items()
    }
    step = tf.function(lambda x: model(x, training=False)).get_concrete_function(specs)

    def run(batch: Batch) -> dict[str, np.ndarray]:
        outputs = step({name: tf.constant(array) for name, array in batch.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def predict_split(
    run: Run, entry: ModelEntry, clips: Sequence[tuple[Sample, StoredClip | None]], spec: ClipSpec
) -> np.ndarray:
    """Probabilities (n_clips, 7); NaN rows for clips that failed or lack the modality."""
    probs = np.full((len(clips), N_EMOTIONS), np.nan, np.float32)
    known = [i for i, (_, clip) in enumerate(clips) if clip is not None]
    ready = (clip.load() for _, clip in clips if clip is not None)
    probs[known] = predict_clips(run, ready, entry.inputs, entry.frames, spec)
    return probs


def write_predictions(clips: Sequence[tuple[Sample, Any]], probs: np.ndarray, path: Path) -> None:
    """A row a clip: sample, true label, prediction, probabilities (empty where it abstained)."""
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["sample_id", "label", "prediction", *EMOTIONS])
        for (sample, _), row in zip(clips, probs, strict=True):
            known = bool(np.isfinite(row).all())
            prediction = EMOTIONS[int(row.argmax())] if known else ""
            values = [f"{p:.6f}" for p in row] if known else [""] * N_EMOTIONS
            writer.writerow([sample.sample_id, sample.emotion, prediction, *values])


def draw_confusion(metrics: Metrics, title: str, path: Path) -> None:
    """Confusion matrix as PNG: counts, shaded by their proportion of the row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    scores = f"accuracy {metrics.accuracy:.3f}, UAR {metrics.uar:.3f}"
    shade_confusion(figure.add_subplot(), metrics, f"{title}: {scores}")
    figure.savefig(path, dpi=110)


def shade_confusion(axes: Any, metrics: Metrics, title: str) -> None:
    """Draw a confusion matrix on matplotlib axes; abstentions only where there are any."""
    names, counts = [*EMOTIONS, "abstained"], np.array(metrics.confusion)
    if not counts[:, -1].any():
        names, counts = names[:-1], counts[:, :-1]
    proportions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(proportions, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(N_EMOTIONS), EMOTIONS)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.set_title(title)
    for (i, j), n in np.ndenumerate(counts):
        color = "white" if proportions[i, j] > 0.5 else "black"
        axes.text(j, i, str(n), ha="center", va="center", color=color)


def draw_curves(history: Path, path: Path) -> None:
    """Loss and validation scores over epochs, from a CSV history, as PNG."""
    from matplotlib.figure import Figure

    with open(history, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [int(r["epoch"]) + 1 for r in rows]
    for axes, keys in ((left, ("loss", "val_loss")), (right, ("val_accuracy", "val_uar"))):
        for key in keys:
            if key in rows[0]:
                axes.plot(epochs, [float(r[key]) for r in rows], label=key)
        axes.set_xlabel("epoch")
        if axes.lines:  # none without validation speakers
            axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
