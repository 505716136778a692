"""The training loop, resumable, with this project's callbacks.

One loop serves one process, MirroredStrategy and the workers of Ray Train. Model.fit does not:
it fails under MultiWorkerMirroredStrategy, and it clips the gradients of each replica before they
are summed, so that the weights depend on the number of replicas. benchmarks/training_step.py
compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_emo.errors import Reason, UsageError
from keras_emo.training.callbacks import (
    ClipValidation,
    EpochLine,
    KeepBest,
    SeedEpochs,
    assign_arrays,
)
from keras_emo.training.checkpoint import HISTORY, Checkpoints
from keras_emo.training.config import StageConfig
from keras_emo.training.distributed import Replicas
from keras_emo.training.evaluate import draw_curves
from keras_emo.training.interrupt import check_stopped, note_progress
from keras_emo.training.run import Run

TEMPERATURE = 0.1  # of the contrastive loss
Step = Callable[[Any], tf.Tensor]


def fit(
    run: Run,
    checkpoints: Checkpoints,
    model: keras.Model,
    data: Any,
    steps: int,
    predict: Callable[[], np.ndarray] | None,
    labels: np.ndarray,
) -> None:
    """Train a network; leaves the best epoch's weights in the model.

    checkpoints: of the stage that their folder is named after, restored already. data: a stream
    over the share of the run's replicas that begins with the epoch after them. predict, labels: of
    the validation clips, see ClipValidation; without predict the last epoch is kept. With
    deterministic settings a run that was stopped ends in the very weights of one that was not. The
    coordinator validates, saves and decides when to stop, while the others wait.
    """
    folder, state, replicas = checkpoints.folder, checkpoints.state, run.replicas
    stage = run.config.of_stage(folder.name)
    with replicas.strategy.scope():
        compile_model(model, stage, steps, replicas.share.total)
        model.optimizer.build(model.trainable_variables)
    replicas.synchronize(model)
    first, is_coordinator = state.epoch + 1, replicas.rank == 0
    if first:
        assign_arrays(model, checkpoints.load(state.epoch))
        if is_coordinator:
            print(f"{folder.name}: resumed after epoch {first}", flush=True)
    if not state.done:
        callbacks: list[keras.callbacks.Callback] = [SeedEpochs(run.config.seed, replicas)]
        if is_coordinator:
            callbacks += [ClipValidation(predict, labels)] if predict is not None else []
            callbacks += [
                KeepBest(checkpoints, stage),
                keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
                EpochLine(folder.name, stage.epochs),  # last: what it prints is on disk
            ]
        loss, xla = cross_entropy(stage, "sum"), run.config.xla
        step = make_step(model, loss, replicas, xla, stage.contrast)
        with note_progress(lambda: _name_progress(checkpoints)):
            run_epochs(model, data, steps, range(first, stage.epochs), callbacks, step, replicas)
    if is_coordinator:
        assign_arrays(model, checkpoints.load(checkpoints.state.best_epoch))
        checkpoints.write_history()
        draw_curves(folder / HISTORY, folder / "curves.png")


def run_epochs(
    model: keras.Model,
    data: Any,
    steps: int,
    epochs: range,
    callbacks: list[keras.callbacks.Callback],
    step: Step,
    replicas: Replicas,
) -> None:
    """Call step for every batch and the callbacks around it, as Model.fit does.

    epochs: numbers of those to come. After each the coordinator decides whether it was the last.
    """
    every = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs.stop, steps=steps)
    model.stop_training = False
    batches = replicas.iterate(data)

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
            losses.append(step(batches))
            if i:  # one behind: the next step runs while this one is waited for
                losses[i - 1] = float(losses[i - 1])
            every.on_train_batch_end(i)
        loss = float(np.mean([float(value) for value in losses]))
        if replicas.on_coordinator(partial(end_epoch, epoch, loss)):
            break
    every.on_train_end()


def _name_progress(checkpoints: Checkpoints) -> str:
    n_epochs = checkpoints.state.epoch + 1
    name = checkpoints.folder.name
    return f"{name} is saved after epoch {n_epochs}" if n_epochs else f"{name} has no epoch yet"


def compile_model(model: keras.Model, stage: StageConfig, steps: int, n_replicas: int = 1) -> None:
    """AdamW with warm-up and cosine decay; cross-entropy on logits, never on probabilities.

    n_replicas: the optimizer clips the gradients of each replica before it sums them. A step hands
    it the mean gradients of all, so its limit is the n-th part.
    """
    warmup = min(steps, stage.epochs * steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / 10 if warmup else stage.learning_rate,
        decay_steps=max(1, stage.epochs * steps - warmup),
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=stage.weight_decay, global_clipnorm=stage.clip_norm / n_replicas
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = cross_entropy(stage, "sum_over_batch_size")
    model.compile(optimizer, loss={"logits": loss}, jit_compile=False)


def cross_entropy(stage: StageConfig, reduction: str) -> keras.losses.Loss:
    """Cross-entropy on logits, its sum over examples or their mean."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=stage.label_smoothing, reduction=reduction
    )


def make_step(
    model: keras.Model,
    loss: keras.losses.Loss,
    replicas: Replicas,
    xla: bool = False,
    contrast: float = 0.0,
) -> Step:
    """A function that takes the next batch from an iterator of Replicas.iterate and trains on it.

    model: compiled by compile_model. loss: of the output logits, reduction "sum"; the step divides
    it by the size of the whole batch and adds the losses of layers. contrast: weight of
    contrast_embeddings over the whole batch, likewise divided.
    Returns the loss of the whole batch before the update, float32 (). With xla it raises
    UsageError for a network that XLA cannot compile.
    """
    optimizer, variables = model.optimizer, model.trainable_variables
    n_replicas = replicas.share.total

    def train(x, y, weights, size):
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            value = loss(y["logits"], outputs["logits"], weights["logits"]) / size
            if contrast:
                term = contrast_embeddings(outputs["embedding"], y["logits"], replicas.many)
                value += contrast * term / size
            if model.losses:
                value += tf.add_n(model.losses) / n_replicas
            scaled = optimizer.scale_loss(value)
        known = [
            (gradient, variable)
            for gradient, variable in zip(tape.gradient(scaled, variables), variables, strict=True)
            if gradient is not None
        ]
        gradients = [g for g, _ in known]
        if replicas.many:
            mean, *gradients = context.all_reduce("MEAN", [value, *gradients])
            value = mean * n_replicas
        optimizer.apply(gradients, [v for _, v in known])
        return value

    run = tf.function(train, jit_compile=True) if xla else train

    @tf.function(reduce_retracing=True)
    def step(iterator):
        value = replicas.strategy.run(run, args=next(iterator))
        return replicas.strategy.experimental_local_results(value)[0]

    def step_with_xla(iterator):
        try:
            return step(iterator)
        except tf.errors.UnimplementedError as e:
            why = [line for line in str(e).splitlines() if "implement" in line] or [str(e)]
            cause = f"it cannot compile {model.name}: {why[0].strip()}"
            raise UsageError("--xla", Reason.BAD_CONFIG, cause) from e

    return step_with_xla if xla else step


def contrast_embeddings(embedding: tf.Tensor, truth: tf.Tensor, many: bool = False) -> tf.Tensor:
    """Supervised contrastive loss: embeddings of one emotion near each other, of others apart.

    Summed over examples: for each, the mean over the others of its class.

    embedding: (n, dim), of any length, compared by cosine. truth: one-hot (n, classes). many:
    called on one of several replicas, whose examples are compared with those of all. Examples
    that are alone in their class add nothing. Returns float32 (). Source: Khosla et al. 2020
    (arXiv:2004.11362), L_out, on the embedding itself instead of a projection of it.
    """
    own = tf.math.l2_normalize(tf.cast(embedding, tf.float32), axis=-1, epsilon=1e-12)
    truth = tf.cast(truth, tf.float32)
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.float32) if many else 0.0
    rows = tf.range(tf.cast(tf.shape(own)[0], tf.float32))  # not integers, which stay on the host
    names = tf.stack([tf.fill(tf.shape(rows), replica), rows], axis=1)
    every, classes, all_names = own, truth, names
    if many:
        together = context.all_gather(tf.concat([own, truth, names], axis=1), axis=0)
        widths = [own.shape[1], truth.shape[1], 2]
        every, classes, all_names = tf.split(together, widths, axis=1)
    itself = tf.reduce_all(names[:, None] == all_names[None], axis=-1)
    alike = tf.matmul(own, every, transpose_b=True) / TEMPERATURE
    alike = tf.where(itself, -1e9, alike)
    shares = alike - tf.reduce_logsumexp(alike, axis=1, keepdims=True)
    same = tf.where(itself, 0.0, tf.matmul(truth, classes, transpose_b=True))
    found = tf.reduce_sum(same * shares, axis=1)
    return -tf.reduce_sum(found / tf.maximum(tf.reduce_sum(same, axis=1), 1.0))


def copy_branches(model: keras.Model, branches: Iterable[keras.Model]) -> None:
    """Give a network the weights of its trained branches and freeze them."""
    for branch in branches:
        layer = model.get_layer(branch.name)
        layer.set_weights(branch.get_weights())
        layer.trainable = False
