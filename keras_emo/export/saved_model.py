"""Keras to SavedModel with a named signature, for TensorFlow Serving and the like."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from keras_emo.inference.batch import Batch, Run


def write_saved_model(model: keras.Model, folder: Path) -> None:
    """Write a SavedModel whose ``serving_default`` takes and returns the network's names."""
    import tensorflow as tf

    spec = {
        name: tf.TensorSpec(tensor.shape, tf.float32, name=name)
        for name, tensor in model.input.items()
    }
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default", lambda x: model(x, training=False), input_signature=[spec]
    )
    archive.write_out(str(folder), verbose=False)


def open_saved_model(folder: Path) -> Run:
    """A function from a feed to numpy outputs through the written signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(feed: Batch) -> dict[str, np.ndarray]:
        signature = loaded.signatures["serving_default"]
        outputs = signature(**{name: tf.constant(array) for name, array in feed.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run
