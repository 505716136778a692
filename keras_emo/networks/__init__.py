"""Keras functional graphs by name. The catalog is free of Keras; building a network loads it."""

from keras_emo.networks.catalog import MODELS, ModelEntry, build, find, load_weights, register

__all__ = ["MODELS", "ModelEntry", "build", "find", "load_weights", "register"]
