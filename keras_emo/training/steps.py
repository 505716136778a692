"""One step of training, the same on one replica and on many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_emo.errors import Reason, UsageError
from keras_emo.training.contrast import contrast_embeddings
from keras_emo.training.distributed import Crew

Step = Callable[[Any], tf.Tensor]


def leave_sums(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimiser take gradients as they are: a step has summed them over the replicas.

    Keras sums them itself, but after clipping, so that each replica would clip its own. A method
    of the one object, as a class of its own would be named in saved files.
    """
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars


def make_step(
    model: keras.Model,
    loss: keras.losses.Loss,
    crew: Crew,
    xla: bool = False,
    contrast: float = 0.0,
) -> Step:
    """A function that takes the next batch from an iterator of Crew.iterate and learns from it.

    model: compiled with an optimiser after leave_sums. loss: of the output logits, reduction
    "sum"; the step divides it by the size of the whole batch and adds the losses of layers.
    contrast: weight of contrast_embeddings over the whole batch, likewise divided.
    Returns the loss of the whole batch before the update, float32 (). With xla it raises
    UsageError for a network that XLA cannot compile.
    """
    optimizer, variables = model.optimizer, model.trainable_variables

    def learn(x, y, weights, size):
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            said = model(x, training=True)
            value = loss(y["logits"], said["logits"], weights["logits"]) / size
            if contrast:
                apart = contrast_embeddings(said["embedding"], y["logits"], crew.many)
                value += contrast * apart / size
            if model.losses:
                value += tf.add_n(model.losses) / crew.share.total
            scaled = optimizer.scale_loss(value)
        known = [
            (gradient, variable)
            for gradient, variable in zip(tape.gradient(scaled, variables), variables, strict=True)
            if gradient is not None
        ]
        gradients = [g for g, _ in known]
        if crew.many:  # TensorFlow keeps a graph with this for as long as the process lives
            value, *gradients = context.all_reduce("SUM", [value, *gradients])
        optimizer.apply(gradients, [v for _, v in known])
        return value

    run = tf.function(learn, jit_compile=True) if xla else learn

    @tf.function(reduce_retracing=True)
    def step(iterator):
        value = crew.strategy.run(run, args=next(iterator))
        return crew.strategy.experimental_local_results(value)[0]

    def step_or_tell(iterator):
        try:
            return step(iterator)
        except tf.errors.UnimplementedError as e:
            why = [line for line in str(e).splitlines() if "implement" in line] or [str(e)]
            cause = f"it cannot compile {model.name}: {why[0].strip()}"
            raise UsageError("--xla", Reason.BAD_CONFIG, cause) from e

    return step_or_tell if xla else step
