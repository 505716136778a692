"""The training step and loop: what Model.fit does, and the settings that are really on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from keras_emo.errors import EmoError, ExitCode, Reason, UsageError  # noqa: E402
from keras_emo.training.checkpoint import Checkpoints  # noqa: E402
from keras_emo.training.config import StageConfig, TrainConfig  # noqa: E402
from keras_emo.training.distributed import Replicas  # noqa: E402
from keras_emo.training.features import stream_features  # noqa: E402
from keras_emo.training.fit import compile_model, cross_entropy, fit, make_step  # noqa: E402
from keras_emo.training.run import Run, using_precision  # noqa: E402

pytestmark = pytest.mark.tensorflow

STAGE = StageConfig(epochs=2, batch=10, learning_rate=1e-2, clip_norm=0.05)


def build_net() -> keras.Model:
    """Batch normalization, a loss of its own and two outputs, of which one has no loss."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(8, activation="relu", kernel_regularizer="l2", name="one")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    logits = keras.layers.Dense(7, name="two")(y)
    return keras.Model({"x": x}, {"logits": logits, "other": keras.layers.Softmax()(logits)})


def material():
    rng = np.random.default_rng(2)
    known = {"x": rng.normal(0, 3, (40, 6)).astype(np.float32)}
    return stream_features(known, rng.integers(0, 7, 40), STAGE.batch, 0, 0, True)


def open_stage(stage: StageConfig, folder: Path) -> Run:
    """A run whose checkpoints lie in folder."""
    return Run(folder, TrainConfig(stage={folder.name: stage}), SimpleNamespace())


def compile_step(model, stage, steps, xla=False):
    compile_model(model, stage, steps)
    model.optimizer.build(model.trainable_variables)
    return make_step(model, cross_entropy(stage, "sum"), Replicas(), xla)


@pytest.mark.parametrize("xla", [False, True])
def test_the_step_is_that_of_model_fit(xla):
    ours, theirs = build_net(), build_net()
    data, steps = material()
    compile_model(theirs, STAGE, steps)
    history = theirs.fit(
        data.map(lambda x, y, w, _: (x, y, w)),
        steps_per_epoch=steps, epochs=2, verbose=0, shuffle=False,
    )  # fmt: skip
    step, batches = compile_step(ours, STAGE, steps, xla), iter(data)
    losses = [float(step(batches)) for _ in range(2 * steps)]
    means = np.mean(np.reshape(losses, (2, steps)), axis=1)
    np.testing.assert_allclose(means, history.history["loss"], rtol=1e-5)
    start = build_net()
    for a, b, c in zip(ours.weights, theirs.weights, start.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)
        assert np.abs(a.numpy() - c.numpy()).max() > 1e-3


def test_labels_are_smoothed():
    """With 0.1 the true class counts 0.9 and a seventh of 0.1, every other a seventh of 0.1."""
    x = keras.Input((7,), name="x")
    model = keras.Model({"x": x}, {"logits": keras.layers.Dense(7, use_bias=False)(x)})
    model.set_weights([np.eye(7, dtype=np.float32)])
    logits = np.random.default_rng(5).normal(0, 2, (9, 7)).astype(np.float32)
    labels = np.arange(9) % 7
    data, steps = stream_features({"x": logits}, labels, 9, 0, 0, False)
    loss = float(compile_step(model, STAGE, steps)(iter(data)))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(0.9 * log_probs[np.arange(9), labels] + 0.1 * log_probs.mean(axis=1)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_weight_decay_leaves_biases_and_norms_alone():
    """Without gradients an update is the decay alone, at a tenth of the rate in the first step."""
    x = keras.Input((6,), name="x")
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(7, name="one")(x))
    model = keras.Model({"x": x}, {"logits": y})
    before = {w.path: np.full(w.shape, 0.5, np.float32) for w in model.trainable_variables}
    for weight in model.trainable_variables:
        weight.assign(before[weight.path])
    stage = StageConfig(epochs=10, batch=10, learning_rate=0.1, weight_decay=0.5)
    step = compile_step(model, stage, 4)
    inputs, y, _, size = next(iter(material()[0]))
    step(iter([(inputs, y, {"logits": tf.zeros(10)}, size)]))
    for weight in model.trainable_variables:
        shrunk = 1 - 0.01 * 0.5 if weight.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(weight.numpy(), shrunk * 0.5, rtol=1e-6, err_msg=weight.path)


def test_the_learning_rate_warms_up_and_decays():
    """An epoch of warm-up from a tenth, then half a cosine to zero."""
    model = build_net()
    compile_model(model, StageConfig(epochs=11, learning_rate=0.2), steps=10)
    rates = []
    for iteration in (0, 5, 10, 60, 110):
        model.optimizer.iterations.assign(iteration)
        rates.append(float(model.optimizer.learning_rate))
    assert rates == pytest.approx([0.02, 0.11, 0.2, 0.1, 0.0], abs=1e-6)


def test_the_best_epoch_is_kept_and_training_stops_without_a_better_one(tmp_path):
    """A scripted score: how many of the four validation clips are right after each epoch."""
    right, saved = iter([1, 3, 2, 3, 2, 4]), []
    labels, model = np.array([0, 1, 2, 3]), build_net()
    data, steps = material()

    def predict() -> np.ndarray:
        saved.append(model.get_weights())
        n = next(right)
        return np.eye(7)[[*labels[:n], *(labels[n:] + 3)]]

    checkpoints = Checkpoints(tmp_path, {})
    stage = replace(STAGE, epochs=9, patience=3)
    fit(open_stage(stage, tmp_path), checkpoints, model, data, steps, predict, labels)
    assert [row["val_accuracy"] for row in checkpoints.state.history] == [
        0.25, 0.75, 0.5, 0.75, 0.5,
    ]  # fmt: skip
    assert (checkpoints.state.best_epoch, checkpoints.state.done) == (1, True)
    for kept, best in zip(model.get_weights(), saved[1], strict=True):
        np.testing.assert_array_equal(kept, best)
    assert np.abs(saved[1][0] - saved[4][0]).max() > 1e-3


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    """The state before is kept, here none."""
    model, (data, steps) = build_net(), material()
    stage, checkpoints = (
        replace(STAGE, learning_rate=1e30, clip_norm=1e30),
        Checkpoints(tmp_path, {}),
    )
    with pytest.raises(EmoError, match="there is no state before") as caught:
        fit(open_stage(stage, tmp_path), checkpoints, model, data, steps, None, np.zeros(0))
    assert (caught.value.reason, caught.value.exit_code) == (Reason.NAN_LOSS, ExitCode.REJECTED)
    assert not [*tmp_path.glob("epoch-*"), *tmp_path.glob("state.json")]


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_keeps_weights_whole(kind):
    with using_precision(kind):
        model = build_net()
    assert keras.config.dtype_policy().name == "float32"
    data, steps = material()
    step, batches = compile_step(model, STAGE, steps), iter(data)
    losses = [float(step(batches)) for _ in range(12)]
    assert model.get_layer("two").compute_dtype == kind
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert {str(w.dtype) for w in model.weights} == {"float32"}


def test_what_xla_lacks_is_named():
    def refuse(*_, **__):
        raise tf.errors.UnimplementedError(None, None, "at a node\npooling is not implemented")

    model, (data, steps) = build_net(), material()
    compile_model(model, STAGE, steps)
    replicas = Replicas()
    replicas.strategy = SimpleNamespace(run=refuse)
    step = make_step(model, cross_entropy(STAGE, "sum"), replicas, xla=True)
    with pytest.raises(UsageError, match=r"'--xla': bad_config: .*pooling is not implemented"):
        step(iter(data))
