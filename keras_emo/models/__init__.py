"""Keras functional graphs, registered by name."""

from keras_emo.models import audio, fusion, residual, tdnn, visual
from keras_emo.models.registry import MODELS, ModelEntry, build_model

__all__ = [
    "MODELS",
    "ModelEntry",
    "audio",
    "build_model",
    "fusion",
    "residual",
    "tdnn",
    "visual",
]
