"""The few layers that Keras does not have. keras.ops only, so that any backend can train."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_emo.labels import N_EMOTIONS

register = keras.saving.register_keras_serializable("keras_emo")


@register
class Standardize(keras.layers.Layer):
    """Each coefficient to zero mean and unit variance, as learned from training speakers.

    Input (batch, n, frames). Unlike keras.layers.Normalization it works on its weights and not
    on copies of them, which set_weights leaves behind and an export traces as constants.
    """

    def build(self, x_shape):
        size = (x_shape[1], 1)
        self.mean = self.add_weight(name="mean", shape=size, initializer="zeros", trainable=False)
        self.variance = self.add_weight(
            name="variance", shape=size, initializer="ones", trainable=False
        )

    def adapt(self, data) -> None:
        """Learn mean and variance from an array (n_clips, n, frames)."""
        self.mean.assign(data.mean(axis=(0, 2))[:, None])
        self.variance.assign(data.var(axis=(0, 2))[:, None])

    def call(self, x):
        return (x - self.mean) / ops.sqrt(self.variance + 1e-6)


@register
class Gray(keras.layers.Layer):
    """RGB (batch, height, width, 3) to luma (batch, height, width, 1), as of ITU-R BT.601."""

    def call(self, x):
        return ops.sum(x * ops.convert_to_tensor([0.299, 0.587, 0.114], x.dtype), -1, True)


@register
class ImageNorm(keras.layers.Layer):
    """Gray (batch, height, width, 1), 0 to 255, to zero mean and unit deviation.

    Each picture by itself, so that skin and lamp count less.
    """

    FLOOR = 8.0  # gray levels: a plain picture stays plain

    def call(self, gray):
        gray = gray - ops.mean(gray, axis=(1, 2, 3), keepdims=True)
        deviation = ops.sqrt(ops.mean(gray * gray, axis=(1, 2, 3), keepdims=True))
        return gray / (deviation + self.FLOOR)


@register
class MeanAndDeviation(keras.layers.Layer):
    """(batch, frames, n) to mean and standard deviation over frames, (batch, 2 * n)."""

    def call(self, x):
        mean = ops.mean(x, axis=1)
        square = ops.mean((x - ops.expand_dims(mean, 1)) ** 2, axis=1)
        return ops.concatenate([mean, ops.sqrt(square + 1e-4)], axis=-1)


@register
class AttentionPooling(keras.layers.Layer):
    """(batch, frames, n) to a weighted mean over frames for each head, (batch, heads * n)."""

    def __init__(self, heads: int, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.units = heads, units
        self.hidden = keras.layers.Dense(units, activation="tanh", name="hidden")
        self.scores = keras.layers.Dense(heads, name="scores")

    def build(self, x_shape):
        self.hidden.build(x_shape)
        self.scores.build((*x_shape[:-1], self.units))

    def call(self, x):
        weights = ops.softmax(self.scores(self.hidden(x)), axis=1)  # (batch, frames, heads)
        pooled = ops.matmul(ops.transpose(weights, (0, 2, 1)), x)  # (batch, heads, n)
        return ops.reshape(pooled, (-1, self.heads * x.shape[-1]))


@register
class FoldFrames(keras.layers.Layer):
    """(batch, frames, ...) to (batch * frames, ...): every frame goes through as its own clip."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))


@register
class MaskedMean(keras.layers.Layer):
    """Mean over the frames that count.

    Inputs: folded values (batch * frames, n) and a mask (batch, frames), 1 counts, 0 does not.
    Returns (batch, n); zeros where no frame counts.
    """

    def call(self, values, counts):
        n_batch, n_frames = ops.shape(counts)[0], ops.shape(counts)[1]
        values = ops.reshape(values, (n_batch, n_frames, values.shape[-1]))
        weights = ops.expand_dims(ops.cast(counts, values.dtype), -1)
        total = ops.sum(values * weights, axis=1)
        return total / ops.maximum(ops.sum(weights, axis=1), 1.0)


def average_frames(visual: keras.Model, face, face_mask) -> dict[str, Any]:
    """Mean logits and embedding of a network of single frames over the frames that count."""
    outputs = visual({"face": FoldFrames(name="fold_frames")(face)})
    return {k: MaskedMean(name=f"mean_{k}")(outputs[k], face_mask) for k in ("logits", "embedding")}


@register
class WeightedAverage(keras.layers.Layer):
    """Learned weighted average of two networks' logits, one weight a class or one for all.

    Inputs: logits a and b (batch, classes); presence of a and b (batch, 1), 1 or 0. A network
    whose input is absent has no weight. The scale, from ``scale`` on, is learned too, so that the
    average stays calibrated: two that agree are more certain than one. It does not change the
    order of classes, and logits of one network alone stay as they are.
    """

    def __init__(self, per_class: bool = False, scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.per_class, self.scale = per_class, scale

    def build(self, a_shape, b_shape, has_a_shape, has_b_shape):
        size = (N_EMOTIONS,) if self.per_class else (1,)
        self.balance = self.add_weight(name="balance", shape=size, initializer="zeros")
        start = keras.initializers.Constant(math.log(self.scale))
        self.log_scale = self.add_weight(name="log_scale", shape=(1,), initializer=start)

    def call(self, a, b, has_a, has_b):
        weight = ops.sigmoid(self.balance)
        weight_a, weight_b = weight * has_a, (1.0 - weight) * has_b
        total = ops.maximum(weight_a + weight_b, 1e-6)
        scale = ops.exp(self.log_scale * has_a * has_b)
        return scale * (weight_a * a + weight_b * b) / total


@register
class AnyFrame(keras.layers.Layer):
    """Mask (batch, frames) to presence (batch, 1): 1 where any frame counts."""

    def call(self, counts):
        return ops.max(counts, axis=1, keepdims=True)


def classify(features, embedding, regularizer: Any = None) -> dict[str, Any]:
    """The outputs every network has, from its last features: logits, probs and embedding.

    regularizer: of the weights between features and logits. float32 whatever the precision
    policy, since they leave the network.
    """
    scores = keras.layers.Dense(
        N_EMOTIONS, kernel_regularizer=regularizer, name="scores", dtype="float32"
    )
    return name_outputs(scores(features), embedding)


def name_outputs(logits, embedding) -> dict[str, Any]:
    """Dict of outputs, each passed through a layer that carries its name."""
    outputs = {"probs": keras.layers.Softmax(name="probs", dtype="float32")(logits)}
    for name, value in (("logits", logits), ("embedding", embedding)):
        outputs[name] = keras.layers.Activation("linear", name=name, dtype="float32")(value)
    return outputs
