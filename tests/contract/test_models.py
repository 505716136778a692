"""What every registered network promises, from building to the exported bundle."""

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from keras_emo import load  # noqa: E402
from keras_emo.errors import ExitCode  # noqa: E402
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.onnx import ExportError  # noqa: E402
from keras_emo.export.parity import sample_feed  # noqa: E402
from keras_emo.inference.batch import FRAMES  # noqa: E402
from keras_emo.labels import EMOTIONS  # noqa: E402
from keras_emo.networks import MODELS, build, register  # noqa: E402
from keras_emo.networks.layers import Standardize, WeightedAverage  # noqa: E402
from keras_emo.spec import ClipSpec  # noqa: E402
from keras_emo.training.config import default_stage, read_config  # noqa: E402
from keras_emo.training.evaluate import run_keras  # noqa: E402

from .small_networks import PROVENANCE, TINY, build_tiny  # noqa: E402
from .small_networks import SHORT_SPEC as SPEC  # noqa: E402

pytestmark = pytest.mark.tensorflow


# One network of each build function and way of reading frames: the last, on most branches.
KINDS = sorted({(e.builder, e.frames): e.name for e in MODELS.values()}.values())
# Averages have nothing to train: their branches are trained one by one.
TRAINED = [n for n in KINDS if not MODELS[n].branches or MODELS[n].trained_head]
SAVED = ("visual_residual", "audio_lstm", "fusion_ensemble_tdnn")  # SavedModels take long


@pytest.fixture(scope="module", params=sorted(MODELS))
def network(request):
    """(entry, model) for each registered network."""
    return MODELS[request.param], build_tiny(request.param, spec=SPEC)


@pytest.fixture(scope="module", params=KINDS)
def case(request, tmp_path_factory):
    """(entry, model, bundle folder, exported) for each kind of network."""
    model, entry = build_tiny(request.param, spec=SPEC), MODELS[request.param]
    folder = tmp_path_factory.mktemp("bundles") / request.param
    formats = ("onnx", "keras", *(["saved_model"] if entry.name in SAVED else []))
    return entry, model, folder, export_bundle(model, entry, SPEC, PROVENANCE, folder, formats)


def test_inputs_and_outputs_are_as_registered(network):
    entry, model = network
    assert tuple(model.input) == entry.inputs
    assert list(model.output) == ["probs", "logits", "embedding"]
    assert entry.frames in FRAMES
    assert set(entry.modalities) <= {"face", "voice"}
    assert set(entry.presets) == {"faithful", "compact"}


@pytest.mark.parametrize("preset", ["faithful", "compact"])
def test_training_finds_what_it_needs(network, preset):
    """Stage settings that hold, the layers that training looks for, stages in a right order."""
    entry, model = network
    stage = default_stage(entry.name, preset)
    assert {k: getattr(stage, k) for k in entry.stage} == entry.stage
    if entry.modalities == ("voice",) and not entry.branches:
        assert isinstance(model.get_layer("mfcc_norm"), Standardize)
    if entry.branches and not entry.is_fusion:
        assert {MODELS[p].modalities for p in entry.branches} == {entry.modalities}
        assert all(model.get_layer(p) for p in entry.branches)
    if entry.is_fusion:
        assert [MODELS[p].modalities for p in entry.branches] == [("face",), ("voice",)]
        head = model.get_layer("head")
        assert {"face_logits", "voice_logits", "has_face", "has_voice"} <= set(head.input)
    read = read_config(None, {"stages": (entry.name, *entry.branches)})
    assert set(read.stages) == {entry.name, *entry.branches}
    assert read.stages[-1] == entry.name


def test_outputs_are_probabilities_of_the_logits(network):
    entry, model = network
    out = run_keras(model)(sample_feed(entry, 3, SPEC))
    assert out["logits"].shape == out["probs"].shape == (3, len(EMOTIONS))
    assert out["embedding"].ndim == 2
    expected = np.exp(out["logits"] - out["logits"].max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(out["probs"], expected, atol=1e-5)


def test_a_prediction_does_not_depend_on_the_batch(case):
    """Nor on padding."""
    entry, _, folder, _ = case
    loaded, feed = load(folder, threads=1), sample_feed(entry, 4, SPEC)
    together = loaded.run(feed)["logits"]
    for i in range(4):
        alone = loaded.run({k: v[i : i + 1] for k, v in feed.items()})["logits"]
        np.testing.assert_allclose(alone[0], together[i], atol=1e-4)


def test_an_absent_modality_does_not_count(case):
    """Under a zero mask any finite values give the same, finite prediction."""
    entry, _, folder, _ = case
    loaded = load(folder, threads=1)
    for name, mask in (("face", "face_mask"), ("mfcc", "mfcc_mask")):
        if mask not in entry.inputs:
            continue
        feed = sample_feed(entry, 2, SPEC)
        feed[mask] = np.zeros_like(feed[mask])
        first = loaded.run(feed)["logits"]
        feed[name] = feed[name][::-1] * 0.5 + 3
        assert np.isfinite(first).all()
        np.testing.assert_allclose(loaded.run(feed)["logits"], first, atol=1e-4)


def test_export_agrees_with_keras(case):
    entry, model, folder, exported = case
    assert set(exported.parity) == {"onnx"} | ({"saved_model"} if entry.name in SAVED else set())
    for result in exported.parity.values():
        assert result.batches == (1, 7)
        assert result.max_difference["logits"] <= 1e-4
    feed = sample_feed(entry, 3, SPEC, seed=99)  # not what the gate saw
    ours = run_keras(model)(feed)
    one, eight = (load(folder, threads=n).run(feed) for n in (1, 8))
    for key, value in ours.items():
        np.testing.assert_allclose(one[key], value, atol=1e-4)
        np.testing.assert_allclose(eight[key], one[key], atol=1e-5)


def test_saved_weights_come_back(case):
    entry, model, folder, _ = case
    again = build(entry.name, "compact", TINY, SPEC)
    again.load_weights(folder / "model.keras")
    feed = sample_feed(entry, 2, SPEC)
    np.testing.assert_allclose(
        run_keras(again)(feed)["logits"], run_keras(model)(feed)["logits"], atol=1e-6
    )


def test_lone_graph_describes_itself(case):
    onnx = pytest.importorskip("onnx")
    entry, _, folder, _ = case
    proto = onnx.load(folder / "model.onnx")
    known = {p.key: p.value for p in proto.metadata_props}
    assert json.loads(known["labels"]) == list(EMOTIONS)
    assert ClipSpec.from_dict(json.loads(known["clip_spec"])) == SPEC
    assert [i.name for i in proto.graph.input] == list(entry.inputs)
    assert {o.version for o in proto.opset_import if o.domain == ""} == {18}
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("name", TRAINED)
def test_one_step_of_training_lowers_the_loss(name):
    model = build_tiny(name, spec=SPEC)
    feed = sample_feed(MODELS[name], 7, SPEC)
    truth = {"logits": np.eye(7, dtype=np.float32)}
    model.compile(
        keras.optimizers.Adam(3e-3),
        loss={"logits": keras.losses.CategoricalCrossentropy(from_logits=True)},
        jit_compile=False,  # XLA compiles for longer than it saves here
    )
    history = model.fit(feed, truth, batch_size=7, epochs=12, verbose=0, shuffle=False)
    losses = history.history["loss"]
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < losses[0]


def test_gate_refuses_an_untrained_network(tmp_path):
    model = build("audio_lstm", "compact", TINY, SPEC)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(np.zeros(weight.shape))
    with pytest.raises(ExportError, match="every bias is zero") as caught:
        export_bundle(model, MODELS["audio_lstm"], SPEC, PROVENANCE, tmp_path / "b", ("onnx",))
    assert caught.value.exit_code == ExitCode.REJECTED
    assert not (tmp_path / "b").exists()


def test_gate_refuses_a_graph_that_disagrees(tmp_path, monkeypatch):
    """A file that differs from Keras is not written, and an older bundle stays."""
    from keras_emo.export import bundle, onnx

    entry, model = MODELS["audio_cnn"], build_tiny("audio_cnn", spec=SPEC)
    export_bundle(model, entry, SPEC, PROVENANCE, tmp_path / "b", ("onnx",))
    before = (tmp_path / "b" / "bundle.json").read_bytes()

    def convert_wrong(model, metadata):
        proto = onnx.convert_onnx(model, metadata)
        bias = next(t for t in proto.graph.initializer if tuple(t.dims) == (7,))
        values = np.frombuffer(bias.raw_data, np.float32) + 0.01
        bias.raw_data = values.astype(np.float32).tobytes()
        return proto

    monkeypatch.setattr(bundle, "convert_onnx", convert_wrong)
    with pytest.raises(ExportError, match="differ from Keras"):
        export_bundle(model, entry, SPEC, PROVENANCE, tmp_path / "b", ("onnx",))
    assert (tmp_path / "b" / "bundle.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


@pytest.mark.parametrize(
    ("name", "millions"), [("visual_alexnet", 57.0), ("audio_cnn", 56.0), ("audio_lstm", 0.2)]
)
def test_faithful_sizes(name, millions):
    model = build(name, "faithful")
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.1)
    if name != "audio_lstm":
        assert model.output["embedding"].shape[-1] == 4096


@pytest.mark.parametrize(
    ("name", "inputs", "branches", "cause"),
    [
        ("audio_cnn", ("mfcc",), (), "already"),
        ("visual_x", ("mfcc",), (), "audio_"),
        ("x", ("face",), (), "visual_"),
        ("audio_x", (), (), "name"),
        ("fusion_x", ("face", "mfcc"), (), "branches"),
        ("audio_x", ("mfcc",), ("visual_alexnet", "audio_cnn"), "audio_"),
        ("audio_x", ("mfcc",), ("audio_cnn",), "branches"),
    ],
)
def test_registrations_that_are_refused(name, inputs, branches, cause):
    before = dict(MODELS)
    with pytest.raises(ValueError, match=cause):
        register(name, inputs=inputs, branches=branches, presets={})(lambda spec: None)
    assert before == MODELS


def test_the_logits_of_one_modality_alone_are_its_own():
    average = WeightedAverage(scale=2.0)
    face, voice = np.array([[3.0] * 7] * 3), np.array([[1.0] * 7] * 3)
    has_face, has_voice = np.array([[1.0], [1.0], [0.0]]), np.array([[1.0], [0.0], [1.0]])
    said = keras.ops.convert_to_numpy(average(face, voice, has_face, has_voice))
    assert said[:, 0] == pytest.approx([4.0, 3.0, 1.0])  # of both: their mean, scaled
