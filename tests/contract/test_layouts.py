"""Folders for model servers: what TensorFlow Serving and Triton will find, checked without them."""

import json
import shutil

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import tensorflow as tf  # noqa: E402

from keras_emo import load  # noqa: E402
from keras_emo.cli.export import build_parser, split_names  # noqa: E402
from keras_emo.errors import EnvironmentFailure, UsageError  # noqa: E402
from keras_emo.export import layouts, triton  # noqa: E402
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.layouts import check_layouts, draft_version, write_layout  # noqa: E402
from keras_emo.export.onnx import ExportError  # noqa: E402
from keras_emo.export.parity import sample_feed  # noqa: E402
from keras_emo.export.tf_serving import WARM_UP, read_warm_up  # noqa: E402
from keras_emo.inference.session import open_session  # noqa: E402
from keras_emo.labels import EMOTIONS  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402
from keras_emo.networks.ensemble import average_models  # noqa: E402

from .small_networks import FACTS, build_tiny  # noqa: E402
from .small_networks import SHORT_SPEC as SPEC  # noqa: E402

pytestmark = pytest.mark.tensorflow

# a fusion, and two networks as one; tests of versions have a single one
CASES = ("fusion_joint", "ensemble")


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """(entry, model, bundle folder) of a small network."""
    name = "audio_tdnn" if request.param == "ensemble" else request.param
    model = build_tiny(name, 0, SPEC)
    if request.param == "ensemble":
        model = average_models([model, build_tiny(name, 1, SPEC)])
    folder = tmp_path_factory.mktemp("out") / "net"
    export_bundle(model, MODELS[name], SPEC, FACTS, folder, ("onnx",))
    return MODELS[name], model, folder


@pytest.fixture
def bundle(case, tmp_path):
    """The same with a bundle folder of its own."""
    entry, model, folder = case
    return entry, model, shutil.copytree(folder, tmp_path / "net")


def test_tensorflow_serving(bundle):
    entry, model, folder = bundle
    version = write_layout("tfserving", model, entry, folder)
    assert version == folder.parent / "tfserving" / "net" / "1"
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    told = {i["name"]: i for i in json.loads((folder / "bundle.json").read_text())["inputs"]}
    taken = signature.structured_input_signature[1]
    assert set(taken) == set(told)
    for name, spec in taken.items():
        sizes = [n if isinstance(n, int) else None for n in told[name]["shape"]]
        assert (spec.dtype, spec.shape.as_list()) == (tf.float32, sizes)
    predictor = load(folder, threads=1)
    for n in (1, 3):
        feed = sample_feed(entry, n, SPEC, seed=99)  # not what the export saw
        said = signature(**{k: tf.constant(v) for k, v in feed.items()})
        expected = predictor.run(feed)
        assert set(said) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(said[key].numpy(), value, atol=1e-4)
    described = (version / "assets.extra" / "bundle.json").read_bytes()
    assert described == (folder / "bundle.json").read_bytes()
    ((name, feed),) = read_warm_up(version / WARM_UP)
    assert name == "net"
    assert {k: v.dtype for k, v in feed.items()} == dict.fromkeys(entry.inputs, np.float32)
    said = signature(**{k: tf.constant(v) for k, v in feed.items()})
    assert said["probs"].shape == (1, 7)


def test_triton(bundle):
    entry, model, folder = bundle
    version = write_layout("triton", model, entry, folder)
    root = folder.parent / "triton" / "net"
    assert version == root / "1"
    assert sorted(p.name for p in root.iterdir()) == ["1", "config.pbtxt", "labels.txt", "warmup"]
    assert sorted(p.name for p in version.iterdir()) == ["bundle.json", "model.onnx"]
    assert (root / "labels.txt").read_text().split() == list(EMOTIONS)
    config = parse((root / "config.pbtxt").read_text())
    assert (config["name"], config["platform"]) == (["net"], ["onnxruntime_onnx"])
    assert config["max_batch_size"] == [16]
    assert config["instance_group"] == [{"count": [1], "kind": ["KIND_CPU"]}]
    assert "dynamic_batching" in config
    (labelled,) = (o for o in config["output"] if "label_filename" in o)
    assert (labelled["name"], labelled["label_filename"]) == (["probs"], ["labels.txt"])

    # the graph takes what the file declares, with any number for -1
    session, rng = open_session(version / "model.onnx", 1), np.random.default_rng(0)
    for batch, frames in ((1, 2), (3, 4)):
        feed = {}
        for given in config["input"]:
            assert given["data_type"] == ["TYPE_FP32"]
            dims = [frames if n == -1 else n for n in given["dims"]]
            feed[given["name"][0]] = rng.uniform(0, 1, (batch, *dims)).astype(np.float32)
        for declared in config["output"]:
            (said,) = session.run(declared["name"], feed)
            assert list(said.shape) == [batch, *declared["dims"]]
    if entry.frames == "all":
        assert [g["dims"][0] for g in config["input"] if "face" in g["name"][0]] == [-1, -1]

    (warm_up,) = config["model_warmup"]
    assert warm_up["batch_size"] == [1]
    feed = {}
    for each in warm_up["inputs"]:
        (name,), (value,) = each["key"], each["value"]
        data = np.fromfile(root / "warmup" / value["input_data_file"][0], "<f4")
        feed[name] = data.reshape(1, *value["dims"])
    np.testing.assert_allclose(
        session.run(["logits"], feed)[0], load(folder, threads=1).run(feed)["logits"], atol=1e-5
    )


def parse(text):
    """Protobuf's text format to lists of values by name; enough for a config.pbtxt."""
    root: dict = {}
    stack = [root]
    for line in map(str.strip, text.splitlines()):
        if line.endswith("{"):
            inner: dict = {}
            stack[-1].setdefault(line[:-1].strip(), []).append(inner)
            stack.append(inner)
        elif line == "}":
            stack.pop()
        else:
            name, _, value = line.partition(": ")
            known = json.loads(value) if value[0] in '"-0123456789' else value
            stack[-1].setdefault(name, []).append(known)
    assert stack == [root]
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(entry, model, bundle folder) of the smallest network."""
    model, folder = build_tiny("audio_tdnn", 0, SPEC), tmp_path_factory.mktemp("small") / "net"
    export_bundle(model, MODELS["audio_tdnn"], SPEC, FACTS, folder, ("onnx",))
    return MODELS["audio_tdnn"], model, folder


@pytest.fixture
def voice(small, tmp_path):
    entry, model, folder = small
    return entry, model, shutil.copytree(folder, tmp_path / "net")


@pytest.mark.parametrize("layout", [layouts.TF_SERVING, layouts.TRITON])
def test_versions_are_added_and_never_overwritten(voice, layout):
    entry, model, folder = voice
    root = folder.parent / layout / "net"
    write_layout(layout, model, entry, folder)
    if layout == "triton":  # settled by hand: it stays
        config = root / "config.pbtxt"
        config.write_text(config.read_text().replace("max_batch_size: 16", "max_batch_size: 64"))
        config.write_text(config.read_text() + "response_cache { enable: true }\n")
    (root / "7").mkdir()
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert write_layout(layout, model, entry, folder) == root / "8"
    assert {p: p.read_bytes() for p in before} == before
    made = {p.relative_to(root / "8") for p in (root / "8").rglob("*")}
    assert made == {p.relative_to(root / "1") for p in (root / "1").rglob("*")}
    assert [p.name for p in root.parent.iterdir()] == ["net"]  # no drafts
    assert root.stat().st_mode & 0o055 == 0o055  # a server runs as somebody else


def test_two_exports_at_once_take_two_numbers(tmp_path):
    folder = tmp_path / "layout" / "net"
    with draft_version(folder) as (one, put_one), draft_version(folder) as (two, put_two):
        (one / "1" / "a").touch()
        (two / "1" / "b").touch()
        assert [put_one(), put_two()] == [folder / "1", folder / "2"]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("?")) == ["1", "1/a", "2", "2/b"]


def test_a_place_that_takes_nothing(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentFailure, match="write_failed"),
        draft_version(tmp_path / "file" / "net"),
    ):
        pass


def test_what_answers_otherwise_is_not_put_in_place(voice):
    entry, _, folder = voice
    other = build_tiny("audio_tdnn", 1, SPEC)
    with pytest.raises(ExportError, match="differ"):
        write_layout("tfserving", other, entry, folder)
    assert list((folder.parent / "tfserving").iterdir()) == []


def test_a_config_that_does_not_fit_is_not_put_in_place(voice, monkeypatch):
    entry, model, folder = voice

    def describe_wrong(name, session):
        config = right(name, session)
        config.input[0].dims[0] += 1
        return config

    right = triton.describe_model
    monkeypatch.setattr(triton, "describe_model", describe_wrong)
    with pytest.raises(ExportError, match=r"mfcc: shape .* config.pbtxt says"):
        write_layout("triton", model, entry, folder)
    assert list((folder.parent / "triton").iterdir()) == []


def test_a_warm_up_file_cut_short(voice):
    entry, model, folder = voice
    version = write_layout("triton", model, entry, folder)
    root = version.parent
    (root / "warmup" / "mfcc").write_bytes(b"\0" * 12)
    with pytest.raises(ExportError, match="12 bytes"):
        triton.check_triton(root, "1", entry, load(folder, threads=1))


def test_versions_that_take_something_else(voice):
    entry, model, folder = voice
    write_layout("triton", model, entry, folder)
    config = folder.parent / "triton" / "net" / "config.pbtxt"
    text = config.read_text()
    config.write_text(text.replace('"mfcc"', '"sound"'))
    with pytest.raises(UsageError, match="other inputs"):
        write_layout("triton", model, entry, folder)
    for broken in ("input {", "\xff"):
        config.write_bytes(broken.encode("latin-1"))
        with pytest.raises(UsageError, match="no model configuration"):
            write_layout("triton", model, entry, folder)
    assert sorted(p.name for p in config.parent.iterdir()) == [
        "1", "config.pbtxt", "labels.txt", "warmup",
    ]  # fmt: skip


def test_a_graph_of_one_clip_is_not_batched(tmp_path):
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 7]) for n in ("x", "probs")]
    node = helper.make_node("Softmax", ["x"], ["probs"])
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    config = triton.describe_model("one", open_session(proto.SerializeToString(), 1))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [list(t.dims) for t in (*config.input, *config.output)] == [[1, 7], [1, 7]]
    assert config.output[0].label_filename == "labels.txt"


def test_options(tmp_path):
    given = build_parser().parse_args(
        ["--run", "r", "--model", "m", "--out", "o", "--layout", "triton, tfserving",
         "--layout", "triton"]
    )  # fmt: skip
    assert split_names(",".join(given.layout)) == ("triton", "tfserving")
    out = tmp_path / "net"
    check_layouts(("triton", "tfserving"), None, out)
    check_layouts(("triton",), "int8", out)
    check_layouts((), "int8", tmp_path / "triton")
    for asked, quantize, where, cause in (
        (("triton", "torchserve"), None, out, "unknown torchserve"),
        (("tfserving",), "fp16", out, "float32 network, not the fp16 one"),
        (("triton",), None, tmp_path / "triton", "name of its own"),
    ):
        with pytest.raises(UsageError, match=cause):
            check_layouts(asked, quantize, where)
