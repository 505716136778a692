"""Networks of a clip's MFCC."""

from __future__ import annotations

import keras

from keras_emo.networks.layers import Standardize, classify
from keras_emo.networks.visual import convolve, dense_head, scale_channels
from keras_emo.spec import ClipSpec

CHANNELS = (128, 128, 128, 256, 256)
GRID = 6  # the last pooling leaves 6 x 6, as AlexNet's does


def pool_to_grid(x):
    """Average pooling to (GRID, GRID), windows as equal as whole steps allow."""
    size = x.shape[1:3]
    strides = tuple(n // GRID for n in size)
    window = tuple(n - (GRID - 1) * s for n, s in zip(size, strides, strict=True))
    return keras.layers.AveragePooling2D(window, strides, name="pool5")(x)


def build_audio_cnn(
    spec: ClipSpec, width: float, dense_units: int, batch_norm: bool, dropout: float,
    n_coefficients: int, n_frames: int,
) -> keras.Model:  # fmt: skip
    """AlexNet-like network over the MFCC as a picture.

    Input ``mfcc``: (batch, 20, 282), not normalized; of a larger one the first n_coefficients and
    n_frames are used. Outputs: ``probs`` and ``logits`` (batch, 7), ``embedding``
    (batch, dense_units), after ReLU.
    """
    mfcc = keras.Input(spec.audio.shape, name="mfcc", dtype="float32")
    c1, c2, c3, c4, c5 = scale_channels(CHANNELS, width)
    x = Standardize(name="mfcc_norm")(mfcc)
    x = keras.layers.Reshape((*spec.audio.shape, 1), name="picture")(x)
    kept = (n_coefficients or spec.audio.shape[0], n_frames or spec.audio.shape[1])
    left_out = tuple(max(0, n - k) for n, k in zip(spec.audio.shape, kept, strict=True))
    if any(left_out):
        x = keras.layers.Cropping2D(tuple((0, n) for n in left_out), name="first")(x)
    x = convolve(x, c1, (5, 11), (1, 3), batch_norm=batch_norm, name="conv1")  # (20, 94)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)  # (10, 47)
    x = convolve(x, c2, 5, batch_norm=batch_norm, name="conv2")
    x = keras.layers.MaxPooling2D((1, 3), (1, 2), padding="same", name="pool2")(x)  # (10, 24)
    x = convolve(x, c3, 3, batch_norm=batch_norm, name="conv3")
    x = convolve(x, c4, 3, batch_norm=batch_norm, name="conv4")
    x = convolve(x, c5, 3, batch_norm=batch_norm, name="conv5")
    embedding = dense_head(pool_to_grid(x), dense_units, dropout, batch_norm)
    return keras.Model({"mfcc": mfcc}, classify(embedding, embedding), name="audio_cnn")


def build_audio_lstm(spec: ClipSpec, units: int, time_pool: int, dropout: float) -> keras.Model:
    """Two LSTM layers over the MFCC frames, averaged over time.

    Input ``mfcc``: (batch, 20, 282), not normalized; time_pool frames are averaged into one
    step. Outputs: ``probs`` and ``logits`` (batch, 7), ``embedding`` (batch, units).
    """
    mfcc = keras.Input(spec.audio.shape, name="mfcc", dtype="float32")
    x = Standardize(name="mfcc_norm")(mfcc)
    x = keras.layers.Permute((2, 1), name="time_first")(x)  # (282, 20)
    if time_pool > 1:
        x = keras.layers.AveragePooling1D(time_pool, name="time_pool")(x)
    x = keras.layers.LSTM(units, return_sequences=True, name="lstm1")(x)
    x = keras.layers.Dropout(dropout, name="drop1")(x)
    x = keras.layers.LSTM(units, return_sequences=True, name="lstm2")(x)
    embedding = keras.layers.GlobalAveragePooling1D(name="time_mean")(x)
    features = keras.layers.Dropout(dropout, name="drop2")(embedding)
    return keras.Model({"mfcc": mfcc}, classify(features, embedding), name="audio_lstm")
