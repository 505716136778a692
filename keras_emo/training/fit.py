"""One call of Model.fit, resumable, with this project's callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.core.errors import Reason, UsageError
from keras_emo.training.callbacks import (
    ClipValidation,
    EpochLine,
    KeepBest,
    SeedEpochs,
    trim_history,
)
from keras_emo.training.config import StageConfig
from keras_emo.training.evaluate import draw_curves


def fit(
    model: keras.Model,
    data: Any,
    steps: int,
    stage: StageConfig,
    folder: Path,
    keep: KeepBest,
    answer: Callable[[], np.ndarray],
    labels: np.ndarray,
    seed: int,
) -> None:
    """Model.fit with this project's callbacks; leaves the best epoch's weights in the model."""
    compile_model(model, stage, steps)
    first = keep.state["epoch"] + 1
    if first:
        loaded = keras.saving.load_model(keep.last_file)
        model.set_weights(loaded.get_weights())
        model.optimizer.build(model.trainable_variables)
        for mine, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            mine.assign(theirs)
        print(f"{folder.name}: resumed after epoch {first}", flush=True)
    if first < stage.epochs and not keep.state["done"]:
        trim_history(folder / "history.csv", first)
        model.fit(
            data,
            steps_per_epoch=steps,
            initial_epoch=first,
            epochs=stage.epochs,
            verbose=0,
            shuffle=False,  # the stream is shuffled already
            callbacks=[
                SeedEpochs(seed),
                ClipValidation(answer, labels),
                keras.callbacks.CSVLogger(str(folder / "history.csv"), append=first > 0),
                keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
                EpochLine(folder.name, stage.epochs),
                keep,
            ],
        )
    model.load_weights(keep.best_file)
    draw_curves(folder / "history.csv", folder / "curves.png")


def compile_model(model: keras.Model, stage: StageConfig, steps: int) -> None:
    """AdamW with warm-up and cosine decay; cross-entropy on logits, never on probabilities."""
    warmup = min(steps, stage.epochs * steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / 10 if warmup else stage.learning_rate,
        decay_steps=max(1, stage.epochs * steps - warmup),
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=stage.weight_decay, global_clipnorm=stage.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=stage.label_smoothing
    )
    model.compile(optimizer, loss={"logits": loss}, jit_compile=False)


def load_initial(model: keras.Model, path: Path) -> None:
    """Weights from a .keras file of the same network. Raises UsageError where they do not fit."""
    if not path.is_file():
        raise UsageError(path, Reason.NOT_FOUND, "no such weights file")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as e:
        first = str(e).strip().splitlines()[0]
        raise UsageError(path, Reason.BAD_CONFIG, f"the weights do not fit: {first}") from e
