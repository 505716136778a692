"""Keras functional graphs, registered by name."""

from keras_emo.extensions import load_extensions, load_own
from keras_emo.networks.catalog import MODELS, ModelEntry, build_model

GROUP = "keras_emo.networks"  # of entry points: modules of other packages that register networks

load_own(__name__)
load_extensions(GROUP)

__all__ = ["MODELS", "ModelEntry", "build_model"]
