"""A time-delay network of a whole clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import keras

from keras_emo.networks.layers import AttentionPooling, MeanAndDeviation, Standardize, classify
from keras_emo.networks.views import MeanOverViews, MelShifts
from keras_emo.spec import ClipSpec

DILATIONS = (1, 2, 4)


def convolve_time(x, filters: int, kernel: int, dilation: int, name: str):
    """Convolution over time, batch normalization, ReLU."""
    x = keras.layers.Conv1D(
        filters, kernel, dilation_rate=dilation, padding="same", use_bias=False,
        kernel_initializer="he_normal", name=name,
    )(x)  # fmt: skip
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def build_audio_tdnn(
    spec: ClipSpec, units: int, top_units: int, heads: int, dropout: float, map_dropout: float,
    test_mel_shifts: Sequence[int],
) -> keras.Model:  # fmt: skip
    """Dilated convolutions over time, then mean, deviation and attention over all frames.

    After the x-vector network (Snyder et al. 2018) and attentive statistics pooling (Okabe et
    al. 2018, arXiv:1803.10963). Input ``mfcc``: (batch, n_mfcc, n_frames), not normalized; with
    as many coefficients as mel bands it holds all of the log-mel spectrogram. Outputs:
    ``probs`` and ``logits`` (batch, 7), ``embedding`` (batch, (2 + heads) * top_units).
    test_mel_shifts: at inference its output is the mean over copies of the voice, each shifted
    by so many mel bands, see MelShifts.
    """
    mfcc = keras.Input(spec.audio.shape, name="mfcc", dtype="float32")
    views = tuple(test_mel_shifts) != (0,)
    x = mfcc
    if views:
        x = MelShifts(test_mel_shifts, asdict(spec.audio), name="mel_shifts")(x)
    x = Standardize(name="mfcc_norm")(x)
    x = keras.layers.Permute((2, 1), name="time_first")(x)  # (frames, coefficients)
    x = keras.layers.AveragePooling1D(2, name="time_pool1")(x)  # 21 ms a step
    x = convolve_time(x, units, 5, 1, "conv1")
    x = keras.layers.MaxPooling1D(2, name="time_pool2")(x)  # 43 ms
    x = keras.layers.SpatialDropout1D(map_dropout, name="drop1")(x)
    for i, dilation in enumerate(DILATIONS, 2):
        y = convolve_time(x, units, 3, dilation, f"conv{i}a")
        y = convolve_time(y, units, 3, 1, f"conv{i}b")
        x = keras.layers.Add(name=f"add{i}")([x, y])
    x = convolve_time(x, top_units, 1, 1, "conv_top")
    embedding = keras.layers.Concatenate(name="pooled")(
        [MeanAndDeviation(name="statistics")(x), AttentionPooling(heads, 64, name="attention")(x)]
    )
    if views:  # before the last layer, which is linear: the mean of the logits
        embedding = MeanOverViews(len(test_mel_shifts), name="embedding_mean")(embedding)
    features = keras.layers.Dropout(dropout, name="drop_top")(embedding)
    return keras.Model({"mfcc": mfcc}, classify(features, embedding), name="audio_tdnn")
