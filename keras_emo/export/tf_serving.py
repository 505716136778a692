"""A version folder that TensorFlow Serving loads, with its warm-up request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.errors import Reason
from keras_emo.export.messages import declare
from keras_emo.export.onnx import ExportError
from keras_emo.export.parity import BATCHES, TOLERANCE, compare, sample_feed
from keras_emo.export.saved_model import open_saved_model, write_saved_model
from keras_emo.inference.batch import Batch
from keras_emo.inference.bundle import DESCRIPTION
from keras_emo.inference.model import Model
from keras_emo.networks.catalog import ModelEntry

SIGNATURE = "serving_default"
WARM_UP = Path("assets.extra/tf_serving_warmup_requests")
_READ_BYTES = 1 << 18


def fill_tf_serving(folder: Path, model: keras.Model, entry: ModelEntry, predictor: Model) -> None:
    """Write SavedModel, what clips it takes and a warm-up request; compare with the bundle.

    Raises ExportError.
    """
    bundle = predictor.bundle
    name = bundle.folder.name
    write_saved_model(model, folder)
    (folder / WARM_UP.parent).mkdir()
    shutil.copyfile(bundle.folder / DESCRIPTION, folder / WARM_UP.parent / DESCRIPTION)
    write_warm_up(folder / WARM_UP, name, sample_feed(entry, 1, bundle.spec, golden=True))
    feeds = [sample_feed(entry, n, bundle.spec) for n in BATCHES]
    feeds += [feed for _, feed in read_warm_up(folder / WARM_UP)]
    run = open_saved_model(folder)  # Keras's own graph: what ONNX is held against
    compare(run, predictor.run, feeds, f"{name}/saved_model", TOLERANCE)


def write_warm_up(path: Path, name: str, feed: Batch) -> None:
    """A TFRecord of one PredictionLog: what the server asks itself before it says it is ready."""
    import tensorflow as tf

    log = prediction_log()()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, SIGNATURE
    for key, array in feed.items():
        request.inputs[key] = tf.make_tensor_proto(array).SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def read_warm_up(path: Path) -> Iterator[tuple[str, Batch]]:
    """Model name and inputs of each request in a warm-up file. Raises ExportError."""
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(str(path), buffer_size=_READ_BYTES).as_numpy_iterator():
        log = prediction_log().FromString(record)
        if not log.HasField("predict_log"):
            raise ExportError(path, Reason.EXPORT_FAILED, "a record without a request")
        request, feed = log.predict_log.request, {}
        for key, value in request.inputs.items():
            feed[key] = np.asarray(tf.make_ndarray(_read_tensor(value)))
        yield request.model_spec.name, feed


def _read_tensor(data: bytes) -> Any:
    from tensorflow.core.framework import tensor_pb2

    return tensor_pb2.TensorProto.FromString(data)


@cache
def prediction_log() -> Any:
    """Message class of tensorflow.serving.PredictionLog, as far as a warm-up request goes.

    A tensor is bytes here: on the wire a message within another is no different.
    """
    return declare(
        "tensorflow.serving",
        {
            "ModelSpec": [("name", 1, "string"), ("signature_name", 3, "string")],
            "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "map bytes")],
            "PredictLog": [("request", 1, "PredictRequest")],
            "PredictionLog": [("predict_log", 6, "PredictLog")],
        },
    )["PredictionLog"]
