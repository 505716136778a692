"""The loop over epochs and steps, resumable, with this project's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_emo.training.callbacks import (
    ClipValidation,
    EpochLine,
    KeepBest,
    SeedEpochs,
    assign_arrays,
)
from keras_emo.training.checkpoint import HISTORY, Checkpoints
from keras_emo.training.config import StageConfig
from keras_emo.training.distributed import Crew
from keras_emo.training.evaluate import draw_curves
from keras_emo.training.interrupt import check_stopped, tell_where
from keras_emo.training.norms import training_norms
from keras_emo.training.steps import Step, leave_sums, make_step


def restore(checkpoints: Checkpoints, crew: Crew) -> int:
    """Checkpoints.restore in the chief; every worker goes on from what it found."""

    def take_up() -> dict[str, Any]:
        checkpoints.restore()
        return checkpoints.state

    checkpoints.state = crew.team.run_on_coordinator(take_up)
    return checkpoints.state["epoch"] + 1


def fit(
    model: keras.Model,
    data: Any,
    steps: int,
    stage: StageConfig,
    checkpoints: Checkpoints,
    answer: Callable[[], np.ndarray] | None,
    labels: np.ndarray,
    seed: int,
    crew: Crew | None = None,
    xla: bool = False,
) -> None:
    """Train a network; leaves the best epoch's weights in the model, of workers in the chief's.

    data: a stream over the crew's share that begins with the epoch after the checkpoints, which
    are restored already. answer, labels: of the validation clips, see ClipValidation; no answer:
    the last epoch stays. With deterministic settings a run that was stopped ends in the very
    weights of one that was not. The chief validates, saves and decides when it is enough, while
    the others wait. Raises EnvironmentFailure, worker_died, where a worker is gone.
    """
    crew = crew or Crew()
    folder, state = checkpoints.folder, checkpoints.state
    with crew.strategy.scope():
        compile_model(model, stage, steps)
        model.optimizer.build(model.trainable_variables)
    first = state["epoch"] + 1
    if first:
        assign_arrays(model, checkpoints.load(state["epoch"]))
        print(f"{folder.name}: resumed after epoch {first}", flush=True)
    if not state["done"]:
        callbacks: list[keras.callbacks.Callback] = [SeedEpochs(seed, crew)]
        if crew.team.is_coordinator:
            callbacks += [ClipValidation(answer, labels)] if answer is not None else []
            callbacks += [
                KeepBest(checkpoints, stage),
                keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
                EpochLine(folder.name, stage.epochs),  # last: what it prints is on disk
            ]
        step = make_step(model, cross_entropy(stage, "sum"), crew, xla, stage.contrast)
        with (
            tell_where(lambda: _say_where(checkpoints)),
            training_norms(model, crew.many, xla),
        ):
            run_epochs(model, data, steps, range(first, stage.epochs), callbacks, step, crew)
    if crew.team.is_coordinator:
        assign_arrays(model, checkpoints.load(checkpoints.state["best_epoch"]))
        checkpoints.write_history()
        draw_curves(folder / HISTORY, folder / "curves.png")


def run_epochs(
    model: keras.Model,
    data: Any,
    steps: int,
    epochs: range,
    callbacks: list[keras.callbacks.Callback],
    step: Step,
    crew: Crew,
) -> None:
    """Call step for every batch and the callbacks around it, as Model.fit does.

    epochs: numbers of those to come. After each the chief tells whether it was the last.
    """
    every = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs.stop, steps=steps)
    model.stop_training = False
    batches = crew.iterate(data)

    def end_epoch(epoch: int, loss: float) -> bool:
        every.on_epoch_end(epoch, {"loss": loss})
        return model.stop_training

    every.on_train_begin()
    for epoch in epochs:
        every.on_epoch_begin(epoch)
        losses: list[Any] = []
        for i in range(steps):
            check_stopped()
            every.on_train_batch_begin(i)
            with crew.heed_losses():
                losses.append(step(batches))
                if i:  # one behind: the next step is under way while this one is waited for
                    losses[i - 1] = float(losses[i - 1])
            every.on_train_batch_end(i)
        with crew.heed_losses():
            losses[-1] = float(losses[-1])
        loss = float(np.mean(losses))
        if crew.team.run_on_coordinator(partial(end_epoch, epoch, loss)):
            break
    every.on_train_end()


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
    leave_sums(optimizer)
    loss = cross_entropy(stage, "sum_over_batch_size")
    model.compile(optimizer, loss={"logits": loss}, jit_compile=False)


def cross_entropy(stage: StageConfig, reduction: str) -> keras.losses.Loss:
    """Cross-entropy on logits, its sum over examples or their mean."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=stage.label_smoothing, reduction=reduction
    )


def take_over(model: keras.Model, parts: Iterable[keras.Model]) -> None:
    """Give a network the weights of the trained parts it stands on; they learn no more."""
    for part in parts:
        layer = model.get_layer(part.name)
        layer.set_weights(part.get_weights())
        layer.trainable = False
