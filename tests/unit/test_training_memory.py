"""What a finished training leaves behind in its process.

TensorFlow keeps the graph of every step that sums over replicas, and with it the stream that was
read; a stream holds places in files, or the features of one fusion head.
"""

from __future__ import annotations

import gc
import time
import weakref
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

WAIT_S = 20.0  # TensorFlow lets go of an iterator in a thread of its own


def test_a_step_is_forgotten_with_its_network():
    """In a process of its own, as a training runs; other tests leave graphs behind."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(_find_leftovers).result() == []


def _find_leftovers() -> list[str]:
    import keras

    left = _learn()
    keras.backend.clear_session()
    end_s = time.monotonic() + WAIT_S
    while True:
        gc.collect()
        alive = [name for name, ref in left.items() if ref() is not None]
        if not alive or time.monotonic() > end_s:
            return alive
        time.sleep(0.1)


def _learn() -> dict[str, weakref.ref]:
    import keras

    from keras_emo.training.config import StageConfig
    from keras_emo.training.distributed import Replicas
    from keras_emo.training.features import stream_features
    from keras_emo.training.fit import compile_model, cross_entropy, make_step

    given = keras.Input((4,), name="seen")
    model = keras.Model({"seen": given}, {"logits": keras.layers.Dense(7)(given)})
    replicas, stage = Replicas(), StageConfig(epochs=1, batch=8)
    compile_model(model, stage, 2)
    features = np.ones((16, 4), np.float32)
    labels = np.arange(16) % 7
    data, _ = stream_features({"seen": features}, labels, 8, 0, 0, True)
    step = make_step(model, cross_entropy(stage, "sum"), replicas)
    assert np.isfinite(float(step(replicas.iterate(data))))
    return {"network": weakref.ref(model)}
