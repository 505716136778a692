"""The supervised contrastive loss against its formula, written out."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from keras_emo.errors import UsageError  # noqa: E402
from keras_emo.networks.layers import classify  # noqa: E402
from keras_emo.training.config import StageConfig, TrainConfig  # noqa: E402
from keras_emo.training.distributed import Replicas  # noqa: E402
from keras_emo.training.features import stream_features  # noqa: E402
from keras_emo.training.fit import (  # noqa: E402
    TEMPERATURE,
    compile_model,
    contrast_embeddings,
    cross_entropy,
    make_step,
)
from keras_emo.training.run import check_models, using_precision  # noqa: E402


def write_out(embedding: np.ndarray, labels: np.ndarray) -> float:
    """Equation 2 of Khosla et al., example by example, in float64."""
    z = embedding.astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        alike = {a: np.exp(z[i] @ z[a] / TEMPERATURE) for a in others}
        same = [p for p in others if labels[p] == labels[i]]
        total -= sum(np.log(alike[p] / sum(alike.values())) for p in same) / max(len(same), 1)
    return total


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(7, dtype=np.float32)[labels]


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0, 6, 6], [3] * 8, [0, 1, 2, 3, 4, 5, 6, 0]])
def test_it_is_the_formula(labels):
    rng = np.random.default_rng(1)
    embedding = rng.normal(0, 3, (8, 5)).astype(np.float32)
    found = contrast_embeddings(tf.constant(embedding), tf.constant(one_hot(np.array(labels))))
    assert float(found) == pytest.approx(write_out(embedding, np.array(labels)), rel=1e-4)
    longer = contrast_embeddings(tf.constant(7 * embedding), one_hot(np.array(labels)))
    assert float(longer) == pytest.approx(float(found), rel=1e-4)


def test_where_nothing_is_of_one_class_it_and_its_gradient_are_zero():
    embedding = tf.Variable(np.random.default_rng(2).normal(size=(7, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        found = contrast_embeddings(embedding, one_hot(np.arange(7)))
    assert float(found) == 0
    assert not tape.gradient(found, embedding).numpy().any()


def test_an_embedding_of_zeros_gives_finite_gradients():
    embedding = tf.Variable(np.zeros((4, 3), np.float32))
    with tf.GradientTape() as tape:
        found = contrast_embeddings(embedding, one_hot(np.zeros(4, int)))
    assert np.isfinite(tape.gradient(found, embedding).numpy()).all()


def build_net() -> keras.Model:
    keras.utils.set_random_seed(3)
    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(8, activation="tanh")(x)
    return keras.Model({"x": x}, classify(y, y))


@pytest.mark.parametrize(("precision", "xla"), [("", False), ("bfloat16", True)])
def test_a_step_adds_it_to_the_cross_entropy(precision, xla):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 7, 32)
    x = rng.normal(0, 1, (32, 6)).astype(np.float32)
    losses, nets = {}, {}
    for weight in (0.0, 0.5):
        with using_precision(precision):
            model = build_net()
        said = model({"x": x})["embedding"].numpy()
        stage = StageConfig(epochs=4, batch=32, contrast=weight)
        data, steps = stream_features({"x": x}, truth, 32, 0, 0, True)
        compile_model(model, stage, steps)
        model.optimizer.build(model.trainable_variables)
        replicas = Replicas()
        step = make_step(model, cross_entropy(stage, "sum"), replicas, xla, stage.contrast)
        batches = replicas.iterate(data)
        losses[weight] = float(step(batches))
        for _ in range(60):
            step(batches)
        nets[weight] = model({"x": x})["embedding"].numpy()
    added = 0.5 * write_out(said, truth) / 32
    assert losses[0.5] - losses[0.0] == pytest.approx(added, rel=0.02 if precision else 1e-3)
    assert write_out(nets[0.5], truth) < write_out(nets[0.0], truth)


def test_it_belongs_to_a_run_where_it_is_set():
    told = TrainConfig(stages=("audio_tdnn",), stage={"audio_tdnn": StageConfig(contrast=0.3)})
    assert told.to_dict()["stage"]["audio_tdnn"]["contrast"] == 0.3
    with pytest.raises(ValueError, match="contrast is -1, it can be at least 0"):
        StageConfig(contrast=-1)


@pytest.mark.parametrize(
    "name", ["fusion_multi_tdnn", "fusion_concat", "audio_ensemble", "visual_clip"]
)
def test_networks_on_top_of_others_have_none(name):
    config = TrainConfig(stages=(name,), stage={name: StageConfig(contrast=0.3)})
    with pytest.raises(UsageError, match=rf"'\[stage.{name}\]': bad_config: contrast is for"):
        check_models(config)
