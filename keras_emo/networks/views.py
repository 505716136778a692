"""Test-time augmentation: a network takes a closer crop, or several copies of a voice.

In training the layers here do nothing: there the data is augmented instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_emo.features.mfcc import dct_matrix
from keras_emo.networks.layers import register
from keras_emo.spec import AudioSpec


def zoom_matrix(side: int, zoom: float) -> np.ndarray:
    """Linear interpolation of the middle 1 / zoom of a line of pixels, float32 (side, side)."""
    middle = (side - 1) / 2
    place = middle + (np.arange(side) - middle) / zoom
    left = np.clip(np.floor(place).astype(int), 0, side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), left] = 1 - (place - left)
    matrix[np.arange(side), left + 1] += place - left
    return matrix


def shift_matrix(spec: AudioSpec, bands: int) -> np.ndarray:
    """Shifts MFCC down the mel axis by whole bands, float32 (n_mfcc, n_mfcc).

    The edge repeats. Exact where there are as many coefficients as bands.
    """
    dct, n = dct_matrix(spec), np.arange(spec.n_mels)
    moved: np.ndarray = dct @ dct.T[np.clip(n + bands, 0, spec.n_mels - 1)]
    return moved.astype(np.float32)


@register
class Zoom(keras.layers.Layer):
    """Square pictures (batch, side, side, n) cropped closer at inference, to the same size.

    A network trained on crops zoomed at random knows faces larger than the plain crop shows
    them, and is right more often on those (Touvron et al. 2019, arXiv:1906.06423).
    """

    def __init__(self, zoom: float, **kwargs: Any):
        super().__init__(**kwargs)
        if zoom < 1:
            raise ValueError(f"zoom is {zoom}, 1 or more")
        self.zoom = zoom

    def call(self, x, training: bool | None = False):
        if training:
            return x
        _, height, width, n = x.shape
        matrix = ops.convert_to_tensor(zoom_matrix(height, self.zoom), x.dtype)
        rows = ops.matmul(matrix, ops.reshape(x, (-1, height, width * n)))
        return ops.matmul(matrix, ops.reshape(rows, (-1, height, width, n)))


@register
class MelShifts(keras.layers.Layer):
    """MFCC (batch, n_mfcc, frames) at several mel shifts at inference, stacked along the batch.

    Returns (len(shifts) * batch, n_mfcc, frames), all clips by the first shift first; see
    MeanOverViews. shifts: mel bands; above 0 the voice of a longer vocal tract.
    """

    def __init__(self, shifts: Sequence[int], audio: dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        if not shifts or any(int(s) != s for s in shifts):
            raise ValueError(f"mel shifts are {shifts}, one or more whole numbers of bands")
        self.shifts, self.audio = [int(s) for s in shifts], dict(audio)
        spec = AudioSpec(**self.audio)
        self.matrices = [shift_matrix(spec, bands) if bands else None for bands in self.shifts]

    def call(self, x, training: bool | None = False):
        if training:
            return x
        views = [
            x if m is None else ops.matmul(ops.convert_to_tensor(m, x.dtype), x)
            for m in self.matrices
        ]
        return ops.concatenate(views, axis=0)


@register
class MeanOverViews(keras.layers.Layer):
    """(count * batch, n) to (batch, n), the mean over a clip's views; in training nothing."""

    def __init__(self, count: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.count = count

    def call(self, x, training: bool | None = False):
        if training:
            return x
        return ops.mean(ops.reshape(x, (self.count, -1, x.shape[-1])), axis=0)
