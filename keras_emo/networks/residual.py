"""A small residual network for one face crop."""

from __future__ import annotations

import keras

from keras_emo.networks.layers import Gray, ImageNorm, classify
from keras_emo.networks.views import Zoom
from keras_emo.networks.visual import convolve, scale_channels
from keras_emo.spec import ClipSpec

CHANNELS = (24, 48, 96, 160)
INPUT_PX = 64  # a larger crop is averaged down to the next size above


def add_residual(x, filters: int, strides: int, name: str):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015, arXiv:1512.03385)."""
    y = convolve(x, filters, 3, strides, batch_norm=True, name=f"{name}_a")
    y = keras.layers.Conv2D(
        filters, 3, padding="same", use_bias=False,
        kernel_initializer="he_normal", name=f"{name}_b",
    )(y)  # fmt: skip
    y = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_b_norm")(y)
    if strides != 1:
        x = keras.layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
    if x.shape[-1] != filters:
        x = keras.layers.Conv2D(
            filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_skip"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_skip_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))


def build_visual_residual(
    spec: ClipSpec, width: float, dropout: float, map_dropout: float, test_zoom: float
) -> keras.Model:
    """Residual network on the gray, standardized crop, for corpora of few faces.

    Input ``face``: RGB (batch, size, size, 3), values 0 to 255; 64 px are enough. Outputs:
    ``probs`` and ``logits`` (batch, 7), ``embedding`` (batch, 160 * width), after ReLU and the
    mean over the picture. test_zoom: at inference the crop's middle fills the picture, see Zoom.
    """
    face = keras.Input(spec.face.shape, name="face", dtype="float32")
    c1, c2, c3, c4 = scale_channels(CHANNELS, width)
    x = face
    if shrink := spec.face.size_px // INPUT_PX - 1:
        x = keras.layers.AveragePooling2D(shrink + 1, name="shrink")(x)
    x = Gray(name="grey")(x)
    if test_zoom != 1:
        x = Zoom(test_zoom, name="zoom")(x)
    x = ImageNorm(name="picture_norm")(x)
    x = convolve(x, c1, 5, 2, batch_norm=True, name="stem")  # (32, 32)
    for i, channels in enumerate((c2, c3, c4), 1):
        x = add_residual(x, channels, 2, f"block{i}a")  # (16, 16), (8, 8), (4, 4)
        x = add_residual(x, channels, 1, f"block{i}b")
        x = keras.layers.SpatialDropout2D(map_dropout, name=f"block{i}_drop")(x)
    embedding = keras.layers.GlobalAveragePooling2D(name="picture_mean")(x)
    features = keras.layers.Dropout(dropout, name="drop")(embedding)
    return keras.Model({"face": face}, classify(features, embedding), name="visual_residual")


def build_extractor(network: keras.Model) -> keras.Model:
    """A visual_residual's features of a face: means of its maps, (batch, 2 * 160 * width).

    Of the last block and of the one before, which is less specific to FER2013's seven classes.
    """
    inner = keras.layers.GlobalAveragePooling2D(name="inner_mean")
    features = [inner(network.get_layer("block3a_relu").output), network.output["embedding"]]
    joined = keras.layers.Concatenate(name="seen")(features)
    return keras.Model(network.input, joined, name="backbone")
