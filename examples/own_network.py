"""A network of your own: mean and deviation of each MFCC, then one dense layer."""

from __future__ import annotations

import keras

from keras_emo.networks import register
from keras_emo.networks.layers import MeanAndDeviation, Standardize, classify
from keras_emo.spec import ClipSpec


@register(
    "audio_plain",
    inputs=("mfcc",),
    presets={"faithful": {"units": 128}, "compact": {"units": 32}},
    stage={"epochs": 40, "learning_rate": 2e-3},
)
def build_audio_plain(spec: ClipSpec, units: int) -> keras.Model:
    """Input ``mfcc``: (batch, n_mfcc, n_frames). Outputs as every network's."""
    mfcc = keras.Input(spec.audio.shape, name="mfcc", dtype="float32")
    x = Standardize(name="mfcc_norm")(mfcc)
    x = keras.layers.Permute((2, 1), name="time_first")(x)  # (frames, coefficients)
    x = MeanAndDeviation(name="statistics")(x)
    embedding = keras.layers.Dense(units, activation="relu", name="hidden")(x)
    return keras.Model({"mfcc": mfcc}, classify(embedding, embedding), name="audio_plain")
