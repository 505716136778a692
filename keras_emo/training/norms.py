"""Batch normalisation while a network is trained; what is saved is Keras's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf


@contextmanager
def training_norms(model: keras.Model, many: bool, xla: bool = False) -> Iterator[None]:
    """Inside the block batch normalisation is what training wants of it.

    many: statistics are those of the whole batch, summed over replicas. Otherwise they and the
    scaling are one operation of TensorFlow, where Keras has a dozen that each pass over the
    data; XLA joins those by itself.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        layer.synchronized = many
        if not many and not xla:
            layer.call = partial(_normalize, layer, layer.call)
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False
            vars(layer).pop("call", None)


def _normalize(
    layer: keras.layers.BatchNormalization, plain: Any, inputs: Any, training: Any = None,
    mask: Any = None,
) -> Any:  # fmt: skip
    """What the layer's call computes, of inputs whose last axis is that of channels."""
    last = layer.axis in (-1, len(inputs.shape) - 1)
    if not (training and layer.trainable and last and layer.scale and layer.center):
        return plain(inputs, training=training, mask=mask)
    x = tf.cast(inputs, tf.float32)
    if len(inputs.shape) != 4:
        x = tf.reshape(x, (-1, 1, 1, inputs.shape[-1]))
    nothing = tf.zeros(0)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.convert_to_tensor(layer.gamma),
        offset=tf.convert_to_tensor(layer.beta),
        mean=nothing,
        variance=nothing,
        epsilon=layer.epsilon,
        is_training=True,
    )
    n = tf.cast(tf.size(x) / inputs.shape[-1], tf.float32)
    variance *= (n - 1.0) / n  # the operation estimates that of the population
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
    if len(inputs.shape) != 4:
        y = tf.reshape(y, tf.shape(inputs))
    return tf.cast(y, layer.compute_dtype)
