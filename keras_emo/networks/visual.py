"""Networks of one face crop."""

from __future__ import annotations

import keras

from keras_emo.networks.layers import classify
from keras_emo.spec import ClipSpec

# AlexNet in the one-tower form of Krizhevsky (2014), arXiv:1404.5997.
CHANNELS = (64, 192, 384, 256, 256)


def scale_channels(channels: tuple[int, ...], width: float) -> list[int]:
    """Channel counts times width, in steps of 8, at least 8."""
    return [max(8, 8 * round(c * width / 8)) for c in channels]


def convolve(x, filters: int, kernel, strides=1, *, batch_norm: bool, name: str):
    """Convolution, batch normalization where asked, ReLU."""
    x = keras.layers.Conv2D(
        filters, kernel, strides=strides, padding="same", use_bias=not batch_norm,
        kernel_initializer="he_normal", name=name,
    )(x)  # fmt: skip
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def dense_head(x, dense_units: int, dropout: float, batch_norm: bool):
    """AlexNet's two dense layers; returns the output of the second, the embedding."""
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("dense6", "dense7"):
        x = keras.layers.Dropout(dropout, name=f"{name}_drop")(x)
        x = keras.layers.Dense(dense_units, kernel_initializer="he_normal", name=name)(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return x


def build_visual_alexnet(
    spec: ClipSpec, width: float, dense_units: int, batch_norm: bool, dropout: float
) -> keras.Model:
    """AlexNet with seven outputs.

    Input ``face``: RGB (batch, 224, 224, 3), values 0 to 255. Outputs: ``probs`` and
    ``logits`` (batch, 7), ``embedding`` (batch, dense_units), after ReLU.
    """
    face = keras.Input(spec.face.shape, name="face", dtype="float32")
    c1, c2, c3, c4, c5 = scale_channels(CHANNELS, width)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(face)
    x = convolve(x, c1, 11, 4, batch_norm=batch_norm, name="conv1")  # (56, 56)
    x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)  # (27, 27)
    x = convolve(x, c2, 5, batch_norm=batch_norm, name="conv2")
    x = keras.layers.MaxPooling2D(3, 2, name="pool2")(x)  # (13, 13)
    x = convolve(x, c3, 3, batch_norm=batch_norm, name="conv3")
    x = convolve(x, c4, 3, batch_norm=batch_norm, name="conv4")
    x = convolve(x, c5, 3, batch_norm=batch_norm, name="conv5")
    x = keras.layers.MaxPooling2D(3, 2, name="pool5")(x)  # (6, 6)
    embedding = dense_head(x, dense_units, dropout, batch_norm)
    return keras.Model({"face": face}, classify(embedding, embedding), name="visual_alexnet")
