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
    assign_arrays,
)
from keras_emo.training.checkpoint import HISTORY, Checkpoints
from keras_emo.training.config import StageConfig
from keras_emo.training.evaluate import draw_curves
from keras_emo.training.interrupt import tell_where


def fit(
    model: keras.Model,
    data: Any,
    steps: int,
    stage: StageConfig,
    checkpoints: Checkpoints,
    answer: Callable[[], np.ndarray],
    labels: np.ndarray,
    seed: int,
) -> None:
    """Model.fit with this project's callbacks; leaves the best epoch's weights in the model.

    checkpoints: restored already, data begins with the epoch after. With deterministic settings
    a run that was stopped ends in the very weights of one that was not.
    """
    folder, state = checkpoints.folder, checkpoints.state
    compile_model(model, stage, steps)
    model.optimizer.build(model.trainable_variables)
    first = state["epoch"] + 1
    if first:
        assign_arrays(model, checkpoints.load(state["epoch"]))
        print(f"{folder.name}: resumed after epoch {first}", flush=True)
    if not state["done"]:
        with tell_where(lambda: _say_where(checkpoints)):
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
                    KeepBest(checkpoints, stage),
                    keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
                    EpochLine(folder.name, stage.epochs),  # last: what it prints is on disk
                ],
            )
    assign_arrays(model, checkpoints.load(checkpoints.state["best_epoch"]))
    checkpoints.write_history()
    draw_curves(folder / HISTORY, folder / "curves.png")


def _say_where(checkpoints: Checkpoints) -> str:
    n_epochs = checkpoints.state["epoch"] + 1
    name = checkpoints.folder.name
    return f"{name} stands after epoch {n_epochs}" if n_epochs else f"{name} has no epoch yet"


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
