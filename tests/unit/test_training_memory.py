"""What a finished training leaves behind in its process."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def test_a_step_is_forgotten_with_its_network_and_its_clips():
    import keras

    from keras_emo.training.config import StageConfig
    from keras_emo.training.distributed import Crew
    from keras_emo.training.features import stream_features
    from keras_emo.training.fit import compile_model, cross_entropy
    from keras_emo.training.steps import make_step

    class Held(np.ndarray):
        """Features that can be watched."""

    def learn() -> list[weakref.ref]:
        given = keras.Input((4,), name="seen")
        model = keras.Model({"seen": given}, {"logits": keras.layers.Dense(7)(given)})
        crew, stage = Crew(), StageConfig(epochs=1, batch=8)
        compile_model(model, stage, 2)
        features = np.ones((16, 4), np.float32).view(Held)
        labels = np.arange(16) % 7
        data, _ = stream_features({"seen": features}, labels, 8, 0, 0, True)
        step = make_step(model, cross_entropy(stage, "sum"), crew)
        assert np.isfinite(float(step(crew.iterate(data))))
        return [weakref.ref(model), weakref.ref(features)]

    left = learn()
    keras.backend.clear_session()
    gc.collect()
    assert [ref() for ref in left] == [None, None]
