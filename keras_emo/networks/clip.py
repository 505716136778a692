"""A network of how a face changes over a clip."""

from __future__ import annotations

import keras
from keras import ops

from keras_emo.networks.layers import FoldFrames, classify, register
from keras_emo.networks.residual import build_extractor
from keras_emo.spec import ClipSpec


@register
class ClipStatistics(keras.layers.Layer):
    """Statistics of the frames' features over a clip, standardized as training clips have them.

    Inputs: features (batch * frames, n) and a mask (batch, frames), 1 counts, 0 does not. Returns
    (batch, (segments + 1) * n): means over equal segments of the clip, a frame on a border by
    its share in each; then the standard deviation over all frames that count. One frame alone has
    none: it is taken for the usual one. Statistics of fewer than enough_frames are uncertain, and
    drawn towards the usual ones. Pooling by statistics: Snyder et al. 2018, X-vectors.
    """

    def __init__(self, segments: int = 3, enough_frames: int = 8, **kwargs):
        super().__init__(**kwargs)
        if segments < 1 or enough_frames < 1:
            raise ValueError(
                f"segments is {segments}, enough_frames {enough_frames}: both are 1 or more"
            )
        self.segments, self.enough_frames = segments, enough_frames

    def build(self, values_shape, counts_shape):
        size = ((self.segments + 1) * values_shape[-1],)
        self.mean = self.add_weight(name="mean", shape=size, initializer="zeros", trainable=False)
        self.variance = self.add_weight(
            name="variance", shape=size, initializer="ones", trainable=False
        )

    def adapt(self, pooled) -> None:
        """Learn mean and variance from what pool gave for training clips, an array."""
        self.mean.assign(pooled.mean(axis=0))
        self.variance.assign(pooled.var(axis=0))

    def pool(self, values, counts):
        """The statistics before they are standardized."""
        n_batch, n_frames = ops.shape(counts)[0], ops.shape(counts)[1]
        values = ops.reshape(values, (n_batch, n_frames, values.shape[-1]))
        counts = ops.cast(counts, values.dtype)
        n = ops.maximum(ops.sum(counts, axis=1, keepdims=True), 1.0)
        ends = ops.cumsum(counts, axis=1) / n
        starts = ends - counts / n
        shares = [
            ops.maximum(
                ops.minimum(ends, (k + 1) / self.segments) - ops.maximum(starts, k / self.segments),
                0.0,
            )
            for k in range(self.segments)
        ]
        means = self.segments * ops.matmul(ops.stack(shares, axis=1), values)
        away = (values - ops.mean(means, axis=1, keepdims=True)) * ops.expand_dims(counts, -1)
        square = ops.sum(away * away, axis=1) / ops.maximum(n - 1.0, 1.0)
        means = ops.reshape(means, (n_batch, self.segments * values.shape[-1]))
        return ops.concatenate([means, ops.sqrt(square + 1e-6)], axis=-1)

    def standardize(self, pooled, counts):
        """What pool gave, by what adapt learned."""
        n = ops.cast(ops.sum(counts, axis=1, keepdims=True), pooled.dtype)
        standard = (pooled - self.mean) / ops.sqrt(self.variance + 1e-6)
        standard = standard * ops.sqrt(ops.minimum(n / self.enough_frames, 1.0))
        n_means = pooled.shape[-1] // (self.segments + 1) * self.segments
        means, deviation = ops.split(standard, [n_means], axis=-1)
        several = ops.cast(n > 1.0, deviation.dtype)
        return ops.concatenate([means, several * deviation], axis=-1)

    def call(self, values, counts):
        return self.standardize(self.pool(values, counts), counts)


def build_visual_clip(
    spec: ClipSpec, backbone: keras.Model, segments: int, enough_frames: int, l2: float
) -> keras.Model:
    """visual_residual's features of every frame, their statistics over the clip, one dense layer.

    The backbone stays as it was pretrained: trained further on a corpus of few actors it learns
    to recognize these, while the way its features change over a clip is common to all people.
    Inputs: ``face`` RGB (batch, frames, size, size, 3), 0 to 255, ``face_mask`` (batch, frames).
    Outputs: ``probs`` and ``logits`` (batch, 7), ``embedding``: the statistics. l2: of the dense
    layer's weights.
    """
    face = keras.Input((None, *spec.face.shape), name="face", dtype="float32")
    face_mask = keras.Input((None,), name="face_mask", dtype="float32")
    extract = build_extractor(backbone)
    extract.trainable = False
    features = extract({"face": FoldFrames(name="fold_frames")(face)})
    statistics = ClipStatistics(segments, enough_frames, name="statistics")(features, face_mask)
    head = _build_head(statistics.shape[-1], l2)
    inputs = {"face": face, "face_mask": face_mask}
    return keras.Model(inputs, head({"statistics": statistics}), name="visual_clip")


def _build_head(n: int, l2: float) -> keras.Model:
    """Logistic regression on the statistics; apart, as it alone is trained."""
    statistics = keras.Input((n,), name="statistics", dtype="float32")
    outputs = classify(statistics, statistics, keras.regularizers.L2(l2))
    return keras.Model({"statistics": statistics}, outputs, name="head")
