"""A step on many replicas is that of one: same rows, same changes, same update."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from keras_emo.data.augment import (  # noqa: E402
    FaceChanges,
    MfccChanges,
    augment_faces,
    augment_mfcc,
)
from keras_emo.data.cache import CacheReport  # noqa: E402
from keras_emo.data.pipeline import Share, stream_images  # noqa: E402
from keras_emo.data.splits import Split  # noqa: E402
from keras_emo.errors import UsageError  # noqa: E402
from keras_emo.spec import AudioSpec  # noqa: E402
from keras_emo.training.config import StageConfig, TrainConfig, read_config  # noqa: E402
from keras_emo.training.distributed import Crew  # noqa: E402
from keras_emo.training.features import stream_features  # noqa: E402
from keras_emo.training.fit import compile_model, cross_entropy  # noqa: E402
from keras_emo.training.norms import training_norms  # noqa: E402
from keras_emo.training.precision import using_precision  # noqa: E402
from keras_emo.training.run import open_run  # noqa: E402
from keras_emo.training.steps import make_step  # noqa: E402

pytestmark = pytest.mark.tensorflow

STAGE = StageConfig(epochs=2, batch=10, learning_rate=1e-2, clip_norm=0.05)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("n", [4, 10, 11])
def test_shares_are_the_whole_batch_in_order(count, n):
    shares = [Share(first, count, 4) for first in range(0, 4, count)]
    rows = [i for share in shares for part in share.cut(n) for i in range(n)[part]]
    assert rows == list(range(n))
    sizes = [part.stop - part.start for share in shares for part in share.cut(n)]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_smaller_than_the_replicas_is_refused():
    faces, labels = np.zeros((3, 8, 8, 3), np.uint8), np.zeros(3, np.int32)
    with pytest.raises(UsageError, match="3 examples cannot be shared among 4 replicas"):
        stream_images(faces, labels, 8, 0, None, share=Share(0, 1, 4))
    with pytest.raises(UsageError, match="2 examples cannot"):
        stream_features({"x": np.zeros((9, 1))}, np.zeros(9, int), 2, 0, 0, True, Share(0, 1, 4))


def test_slices_are_changed_as_in_the_whole_batch():
    rng = np.random.default_rng(0)
    seed = tf.constant([3, 5])
    faces = rng.uniform(0, 255, (10, 24, 24, 3)).astype(np.float32)
    spec = AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
    mfcc = rng.normal(0, 20, (10, *spec.shape)).astype(np.float32)
    warps = MfccChanges(
        time_scale=0.1, mel_scale=0.1, mel_shift=0.1, mel_mask=0.2, gain_db=3.0, floor_db=3.0
    )
    for whole, change in (
        (faces, lambda x, rows: augment_faces(x, seed, FaceChanges(light=0.3, aspect=0.1), rows)),
        (mfcc, lambda x, rows: augment_mfcc(x, seed, warps, spec, rows)),
    ):
        changed = change(tf.constant(whole), None).numpy()
        assert np.abs(changed - whole).max() > 1
        for first, end in ((0, 3), (3, 7), (7, 10)):
            part = change(tf.constant(whole[first:end]), tf.constant([first, 10])).numpy()
            np.testing.assert_allclose(part, changed[first:end], atol=1e-4)


def take(data, n: int) -> list:
    return list(data.take(n).as_numpy_iterator())


@pytest.mark.parametrize("kind", ["images", "features"])
def test_streams_of_shares_are_the_whole_stream(kind):
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 255, (26, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(26, dtype=np.int32) % 7

    def stream(share: Share):
        if kind == "images":
            return stream_images(faces, labels, 10, 5, FaceChanges(), 1, share)
        known = {"x": faces[:, 0, 0].astype(np.float32)}
        return stream_features(known, labels, 10, 5, 1, True, share)

    whole, steps = stream(Share())
    assert steps == 2
    wanted = take(whole, 3)  # into the next epoch
    parts = [take(stream(Share(0, 1, 3))[0], 3), take(stream(Share(1, 2, 3))[0], 6)]
    for i, (x, y, w, size) in enumerate(wanted):
        pieces = [parts[0][i], parts[1][2 * i], parts[1][2 * i + 1]]
        assert [len(p[2]["logits"]) for p in pieces] == [3, 3, 4]
        assert {float(p[3]) for p in pieces} == {float(size)} == {10.0}
        for key, value in x.items():
            joined = np.concatenate([p[0][key] for p in pieces])
            np.testing.assert_allclose(joined, value, atol=1e-2)  # of 255, rounding
        np.testing.assert_array_equal(np.concatenate([p[1]["logits"] for p in pieces]), y["logits"])
        np.testing.assert_array_equal(np.concatenate([p[2]["logits"] for p in pieces]), w["logits"])


def build_net() -> keras.Model:
    """Batch normalisation, a loss of its own and two outputs, of which one has no loss."""
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


@pytest.mark.parametrize("xla", [False, True])
def test_the_step_is_that_of_model_fit(xla):
    ours, theirs = build_net(), build_net()
    data, steps = material()
    compile_model(theirs, STAGE, steps)
    history = theirs.fit(
        data.map(lambda x, y, w, _: (x, y, w)),
        steps_per_epoch=steps, epochs=2, verbose=0, shuffle=False,
    )  # fmt: skip
    compile_model(ours, STAGE, steps)
    ours.optimizer.build(ours.trainable_variables)
    crew = Crew()
    step = make_step(ours, cross_entropy(STAGE, "sum"), crew, xla)
    batches = crew.iterate(data)
    with training_norms(ours, crew.many, xla):
        losses = [float(step(batches)) for _ in range(2 * steps)]
    means = np.mean(np.reshape(losses, (2, steps)), axis=1)
    np.testing.assert_allclose(means, history.history["loss"], rtol=1e-5)
    start = build_net()
    for a, b, c in zip(ours.weights, theirs.weights, start.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)
        assert np.abs(a.numpy() - c.numpy()).max() > 1e-3


@pytest.mark.parametrize("shape", [(9, 5), (9, 3, 5), (9, 4, 3, 5)])
def test_normalisation_in_one_operation_is_that_of_keras(shape):
    rng = np.random.default_rng(4)
    x = tf.constant(rng.normal(3, 2, shape).astype(np.float32))
    weight = tf.constant(rng.normal(0, 1, shape).astype(np.float32))
    found = {}
    for kind in ("plain", "training"):
        keras.utils.set_random_seed(3)
        layer = keras.layers.BatchNormalization(momentum=0.9)
        model = keras.Sequential([keras.Input(shape[1:]), layer])
        layer.gamma.assign([1.0, 2.0, -1.0, 0.5, 3.0])

        def learn(x, model=model, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = model(x, training=True)
                loss = tf.reduce_sum(weight * y * y)
            return y, *tape.gradient(loss, (x, layer.gamma.value, layer.beta.value))

        if kind == "plain":
            said = learn(x)
        else:
            with training_norms(model, many=False):
                said = learn(x)
            assert layer.call.__func__ is keras.layers.BatchNormalization.call
        found[kind] = [*(v.numpy() for v in said), *model.get_weights(), model(x).numpy()]
    for ours, theirs in zip(found["training"], found["plain"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert np.abs(found["plain"][-2] - 1).max() > 0.1  # the variance moved


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_keeps_weights_whole(kind):
    with using_precision(kind):
        model = build_net()
    assert keras.config.dtype_policy().name == "float32"
    data, steps = material()
    compile_model(model, STAGE, steps)
    model.optimizer.build(model.trainable_variables)
    step, batches = make_step(model, cross_entropy(STAGE, "sum"), Crew()), iter(data)
    losses = [float(step(batches)) for _ in range(12)]
    assert model.get_layer("two").compute_dtype == kind
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert {str(w.dtype) for w in model.weights} == {"float32"}


def prepared() -> SimpleNamespace:
    return SimpleNamespace(
        corpus=SimpleNamespace(name="builtin"), split=Split(("a",), ("b",), ()), cache=CacheReport()
    )


def test_what_alters_weights_belongs_to_a_run(tmp_path):
    """Precision and XLA do, where they are not plain; how many workers there are does not."""
    config = TrainConfig(stages=("audio_tdnn",))
    half = read_config(None, {"mixed_precision": "bfloat16", "stages": config.stages})
    stage = replace(config.of_stage("audio_tdnn"), contrast=0.3)
    voice = replace(config, stage={"audio_tdnn": stage})
    for one, other, told in (
        (config, half, "config.mixed_precision is '', asked 'bfloat16'"),
        (half, config, "config.mixed_precision is 'bfloat16', asked ''"),
        (config, replace(config, xla=True), "config.xla is False, asked True"),
        (config, voice, "config.stage.audio_tdnn.contrast is 0.0, asked 0.3"),
        (voice, config, "config.stage.audio_tdnn.contrast is 0.3, asked 0.0"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for _ in range(2):
            open_run(folder, one, prepared()).lock.close()
        with pytest.raises(UsageError, match=told):
            open_run(folder, other, prepared())
    with pytest.raises(UsageError, match="mixed_precision 'half'; known: bfloat16, float16"):
        read_config(None, {"mixed_precision": "half"})


def test_xla_is_for_one_replica(tmp_path):
    crew = Crew()
    crew.share = Share(0, 1, 2)
    with pytest.raises(UsageError, match="'--xla': bad_config"):
        open_run(tmp_path / "run", TrainConfig(xla=True), prepared(), crew=crew)
    assert not (tmp_path / "run").exists()


def test_what_xla_lacks_is_told():
    def refuse(*_, **__):
        raise tf.errors.UnimplementedError(None, None, "at a node\npooling is not implemented")

    model, (data, steps) = build_net(), material()
    compile_model(model, STAGE, steps)
    crew = Crew()
    crew.strategy = SimpleNamespace(run=refuse)
    step = make_step(model, cross_entropy(STAGE, "sum"), crew, xla=True)
    with pytest.raises(UsageError, match=r"'--xla': bad_config: .*pooling is not implemented"):
        step(iter(data))
