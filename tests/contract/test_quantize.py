"""int8 and float16 bundles: what they keep, what they are fitted on and when they are refused."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper  # noqa: E402

from keras_emo import load  # noqa: E402
from keras_emo.data.cache import CacheReport, load_clip  # noqa: E402
from keras_emo.data.corpus import Sample  # noqa: E402
from keras_emo.data.splits import Split  # noqa: E402
from keras_emo.errors import EnvironmentFailure, ExitCode, Reason, UsageError  # noqa: E402
from keras_emo.export import gate as gating  # noqa: E402
from keras_emo.export import quantize  # noqa: E402
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.calibration import choose_samples  # noqa: E402
from keras_emo.export.folding import fold_graph  # noqa: E402
from keras_emo.export.gate import Gate, Judge, check_drop, quantize_gated  # noqa: E402
from keras_emo.export.onnx import ExportError, convert_onnx  # noqa: E402
from keras_emo.export.parity import sample_feed  # noqa: E402
from keras_emo.export.quantize import (  # noqa: E402
    NothingToQuantize,
    halve_gated,
    open_run,
    quantize_int8,
    store_half,
)
from keras_emo.features.clip import ClipInputs  # noqa: E402
from keras_emo.inference.batch import predict_clips  # noqa: E402
from keras_emo.labels import EMOTIONS  # noqa: E402
from keras_emo.media.reader import ClipSource  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402
from keras_emo.training.data import Prepared  # noqa: E402

from .small_networks import FACTS, SPEC, build_tiny  # noqa: E402

pytestmark = pytest.mark.tensorflow

SPLIT = Split(train=("a", "b"), val=("c",), test=("d",))
NAMES = ("visual_alexnet", "audio_cnn", "fusion_concat", "fusion_multi_lstm")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    """Four speakers with one clip a class each, prepared; one clip has no face, one no sound."""
    root, rng = tmp_path_factory.mktemp("cache"), np.random.default_rng(0)
    samples, files = [], {}
    for speaker in "abcd":
        for emotion in EMOTIONS:
            sample_id = f"{speaker}/{emotion}"
            source = ClipSource(video=root / "none.mp4")
            samples.append(Sample(sample_id, "builtin", speaker, "female", emotion, source))
            clip = make_clip(rng)
            if sample_id == "a/angry":
                clip["face"] = None
            if sample_id == "b/angry":
                clip["mfcc"] = None
            files[sample_id] = root / f"{speaker}-{emotion}.npz"
            np.savez(files[sample_id], **{k: v for k, v in clip.items() if v is not None})
    corpus = SimpleNamespace(samples=samples, name="builtin")
    return Prepared(corpus, SPLIT, CacheReport(files), SPEC, root, 1)


def make_clip(rng) -> dict:
    info = {"duration_s": 3.0, "frames_examined": 3, "states": [], "warnings": []}
    coarse = rng.integers(0, 256, (3, 7, 7, 3)).astype(np.uint8)
    mfcc = rng.normal(0, 25, SPEC.audio.shape)
    mfcc[0] -= 300
    return {
        "face": coarse.repeat(32, axis=1).repeat(32, axis=2),
        "mfcc": mfcc.astype(np.float32),
        "face_found": np.ones(3, bool),
        "times_s": np.arange(3.0),
        "boxes": np.zeros((3, 4), np.float32),
        "info": np.array(json.dumps(info)),
    }


def clips_of(prepared: Prepared, part: str) -> list[ClipInputs]:
    return [load_clip(prepared.cache.files[t.sample_id]) for t in prepared.samples(part)]


@pytest.fixture(scope="module", params=NAMES)
def case(request, prepared):
    """(entry, float32 graph, the same in int8, what the bundle says of it)."""
    entry, proto = MODELS[request.param], convert_onnx(build_tiny(request.param), {"model": "x"})
    small, facts = quantize_gated(proto, entry, Gate(prepared, 100.0), request.param)
    return entry, proto, small, facts


def test_folding_changes_nothing(case):
    entry, proto, _, _ = case
    folded, feed = fold_graph(proto), sample_feed(entry, 4, SPEC)
    ours, theirs = open_run(proto)(feed), open_run(folded)(feed)
    np.testing.assert_allclose(theirs["logits"], ours["logits"], atol=1e-4)
    matmul = [n for n in folded.graph.node if n.op_type == "MatMul"]
    assert len(matmul) < len([n for n in proto.graph.node if n.op_type == "MatMul"])
    convolutions = [n for n in folded.graph.node if n.op_type == "Conv"]
    if "face" in entry.inputs:  # pixels four at a time instead of an eleven wide kernel
        kernels = {t.name: tuple(t.dims) for t in folded.graph.initializer}
        assert any(kernels[n.input[1]][1:] == (12, 11, 3) for n in convolutions)


def test_int8_says_nearly_the_same(case, prepared):
    entry, proto, small, _ = case
    answers = [
        predict_clips(open_run(p), clips_of(prepared, "test"), entry.inputs, entry.frames, SPEC)
        for p in (proto, small)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.1
    assert answers[0].std() > 0.02  # so that nearly the same means something


def test_convolutions_and_dense_layers_are_int8_and_the_rest_is_not(case):
    _, proto, small, _ = case
    makers = {name: n for n in small.graph.node for name in n.output}
    constants = {t.name: t for t in small.graph.initializer}
    for node in small.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        kernel = makers.get(node.input[1])
        if kernel is None:  # the scores
            assert 7 in constants[node.input[1]].dims
            continue
        assert kernel.op_type == "DequantizeLinear"
        assert constants[kernel.input[0]].data_type == onnx.TensorProto.INT8
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    types = [n.op_type for n in small.graph.node]
    for kind in ("LSTM", "Softmax", "Div", "ReduceSum"):
        assert types.count(kind) == len([n for n in proto.graph.node if n.op_type == kind])
    for node in small.graph.node:
        if node.op_type == "LSTM":
            near = [makers[i].op_type for i in node.input if i in makers]
            assert "DequantizeLinear" not in near
            assert {n.op_type for n in small.graph.node if node.output[0] in n.input} == {"Squeeze"}
            kernel = numpy_helper.to_array(constants[node.input[1]])
            assert kernel.dtype == np.float32
    assert 3 * small.ByteSize() < 2 * proto.ByteSize()


def test_int8_keeps_names_dimensions_and_metadata(case):
    entry, proto, small, _ = case
    for kind in ("input", "output"):
        assert list(getattr(small.graph, kind)) == list(getattr(proto.graph, kind))
    assert [(p.key, p.value) for p in small.metadata_props] == [("model", "x")]
    assert [(o.domain, o.version) for o in small.opset_import] == [("", 18)]
    run = open_run(small)
    for n in (1, 3, 8):
        assert run(sample_feed(entry, n, SPEC))["logits"].shape == (n, 7)


def test_facts_name_training_speakers_alone(case, prepared):
    entry, _, _, facts = case
    known = facts["quantisation"]
    assert facts["precision"] == "int8"
    assert known["calibration"]["speakers"] == ["a", "b"]
    lacking = {("voice",): ("b/angry",), ("face",): ("a/angry",)}.get(entry.modalities, ())
    assert known["calibration"]["n_clips"] == 14 - len(lacking)
    assert set(known["accuracy"]) == {"val", "test"}
    for part in known["accuracy"].values():
        assert part["n_clips"] == 7
        assert {"fp32", "int8", "agreement"} <= set(part)


def test_only_training_clips_are_read_for_calibration(prepared, monkeypatch):
    entry, seen = MODELS["visual_alexnet"], []

    def watch(path):
        seen.append(path.name[0])
        return load_clip(path)

    def stop(proto, feeds, name):
        assert len(list(feeds)) == 13
        raise EnvironmentFailure("stop", Reason.WRITE_FAILED, "")

    monkeypatch.setattr("keras_emo.training.data.load_clip", watch)
    monkeypatch.setattr(gating, "quantize_int8", stop)
    with pytest.raises(EnvironmentFailure):
        quantize_gated(onnx.ModelProto(), entry, Gate(prepared), "x")
    assert set(seen) == {"a", "b"}


def test_speakers_of_other_parts_are_refused(prepared, monkeypatch):
    """Should the choice of takes ever go wrong, nothing is calibrated on them."""
    wrong = [*prepared.samples("train"), *prepared.samples("val")]
    leaky = replace(prepared)
    monkeypatch.setattr(leaky, "samples", lambda part: wrong, raising=False)
    with pytest.raises(UsageError, match="nobody else"):
        choose_samples(leaky, MODELS["audio_cnn"], 20)


def test_classes_are_even_and_the_choice_repeats(prepared):
    entry = MODELS["fusion_concat"]
    first, again = (choose_samples(prepared, entry, 1) for _ in range(2))
    assert [t.emotion for t in first] == list(EMOTIONS)
    assert first == again


@pytest.fixture
def agreeing(prepared):
    """The prepared clips with the float32 network's own answers as labels; and that network."""
    model, entry = build_tiny("audio_cnn"), MODELS["audio_cnn"]
    run, samples = open_run(convert_onnx(model, {})), []
    for part in ("train", "val", "test"):
        probs = predict_clips(run, clips_of(prepared, part), entry.inputs, entry.frames, SPEC)
        for sample, row in zip(prepared.samples(part), probs, strict=True):
            label = EMOTIONS[int(np.nan_to_num(row).argmax())]
            samples.append(replace(sample, emotion=label))
    corpus = SimpleNamespace(samples=samples, name="builtin")
    return replace(prepared, corpus=corpus), model, entry


def test_int8_bundle_answers_through_the_predictor(agreeing, tmp_path):
    prepared, model, entry = agreeing
    reduce = partial(quantize_gated, entry=entry, gate=Gate(prepared, 50.0), name="audio_cnn")
    figures = export_bundle(
        model, entry, SPEC, FACTS, tmp_path / "b", ("onnx",), reduce, waveform=True
    )
    assert figures["parity"]["onnx"]["max_difference"]["logits"] <= 1e-4  # of the float32 stage
    info = json.loads((tmp_path / "b/bundle.json").read_text())
    assert info["precision"] == "int8"
    assert info["quantisation"]["accuracy"]["val"]["fp32"] == 1.0
    card = (tmp_path / "b/README.md").read_text()
    assert "computes in int8" in card
    assert "| val | 7 | 100.0 |" in card
    predictor = load(tmp_path / "b", threads=1)
    with np.load(tmp_path / "b/golden.npz") as golden:
        said = predictor.run({"mfcc": golden["in_mfcc"]})
        np.testing.assert_allclose(said["logits"], golden["out_logits"], atol=1e-4)
    clips = clips_of(prepared, "val")
    answers = predictor.compute_probs(clips)
    assert np.isfinite(answers).all()
    right = (answers.argmax(axis=1) == [t.label for t in prepared.samples("val")]).mean()
    assert right == info["quantisation"]["accuracy"]["val"]["int8"]
    proto = onnx.load(tmp_path / "b/model.onnx")
    metadata = {p.key: p.value for p in proto.metadata_props}
    assert metadata["precision"] == "int8"
    assert metadata["model"] == "audio_cnn"


def break_scores(proto, feeds, name):
    """A quantisation that went wrong: the order of the classes turned round."""
    list(feeds)
    small = onnx.ModelProto()
    small.CopyFrom(proto)
    last = next(n for n in small.graph.node if "logits" in n.output)
    kept, last.output[0] = last.output[0], "straight"
    minus = numpy_helper.from_array(np.float32(-1), "minus")
    small.graph.initializer.append(minus)
    index = list(small.graph.node).index(last)
    turned = onnx.helper.make_node("Mul", ["straight", "minus"], [kept])
    small.graph.node.insert(index + 1, turned)
    return small


def test_gate_refuses_a_quantisation_that_costs_accuracy(agreeing, tmp_path, monkeypatch):
    prepared, model, entry = agreeing
    export_bundle(model, entry, SPEC, FACTS, tmp_path / "b", ("onnx",))
    before = {p: p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    monkeypatch.setattr(gating, "quantize_int8", break_scores)
    reduce = partial(quantize_gated, entry=entry, gate=Gate(prepared), name="audio_cnn")
    with pytest.raises(ExportError) as caught:
        export_bundle(model, entry, SPEC, FACTS, tmp_path / "b", ("onnx",), reduce)
    assert caught.value.reason is Reason.ACCURACY_DROP
    assert caught.value.exit_code is ExitCode.REJECTED
    for figure in ("0.00 %", "100.00 %", "1 points"):
        assert figure in str(caught.value)
    after = {p: p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert after == before
    with pytest.raises(ExportError):
        export_bundle(model, entry, SPEC, FACTS, tmp_path / "new", ("onnx",), reduce)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


@pytest.mark.parametrize("passes", [True, False])
def test_judges_stand_in_for_a_network_that_nobody_validated(agreeing, monkeypatch, passes):
    """Each is made int8 on its own training speakers and scored on its own validation speakers."""
    prepared, model, entry = agreeing
    proto = convert_onnx(model, {})
    everybody = replace(prepared, split=Split(train=("a", "b", "c", "d"), val=(), test=()))
    others = Split(train=("c", "d"), val=("a",), test=("b",))
    calibrated = []

    def watch(graph, feeds, name):
        feeds = list(feeds)
        calibrated.append(len(feeds))
        worse = graph.producer_name == "worse"
        return break_scores(graph, [], name) if worse else quantize_int8(graph, feeds, name)

    def make_worse(name):
        worse = onnx.ModelProto()
        worse.CopyFrom(proto)
        if not passes:
            worse.producer_name = "worse"
        return worse

    monkeypatch.setattr(gating, "quantize_int8", watch)
    judges = (
        Judge(prepared, lambda _: proto),
        Judge(replace(prepared, split=others), make_worse),
    )
    gate = Gate(everybody, 50.0 if passes else 1.0, judges=judges)
    if not passes:
        with pytest.raises(ExportError) as caught:
            quantize_gated(proto, entry, gate, "audio_cnn")
        assert caught.value.reason is Reason.ACCURACY_DROP
        return
    _, facts = quantize_gated(proto, entry, gate, "audio_cnn")
    known = facts["quantisation"]
    assert calibrated == [21, 13, 14]  # 20 a class at most; one clip has no sound
    assert known["calibration"]["speakers"] == ["a", "b", "c", "d"]
    assert known["judges"] == {"n_networks": 2, "speakers": ["a", "c"]}
    assert set(known["accuracy"]) == {"val"}
    assert known["accuracy"]["val"]["n_clips"] == 14
    assert known["accuracy"]["val"]["fp32"] == 1.0  # the labels are its own answers


def test_nobody_to_judge_is_refused_before_anything_is_made(agreeing, monkeypatch):
    prepared, model, entry = agreeing
    everybody = replace(prepared, split=Split(train=("a", "b", "c", "d"), val=(), test=()))
    monkeypatch.setattr(gating, "quantize_int8", None)
    with pytest.raises(UsageError, match="--judge") as caught:
        quantize_gated(convert_onnx(model, {}), entry, Gate(everybody), "audio_cnn")
    assert caught.value.reason is Reason.BAD_SPLIT


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [(0.80, 0.79, True), (0.80, 0.78999, False), (0.5, 0.9, True), (0.8, 0.8, True)],
)
def test_one_point_is_the_limit(before, after, allowed):
    scores = {"fp32": before, "int8": after}
    if allowed:
        check_drop(scores, 1.0, "x")
    else:
        with pytest.raises(ExportError, match=r"80\.00"):
            check_drop(scores, 1.0, "x")


def test_a_network_of_recurrent_layers_alone_is_refused():
    proto = convert_onnx(build_tiny("audio_lstm"), {})
    with pytest.raises(NothingToQuantize, match="no convolution"):
        quantize_int8(proto, [], "audio_lstm")


@pytest.mark.parametrize("name", ["fusion_multi_lstm", "audio_lstm"])
def test_half_halves_the_file_and_not_the_arithmetic(name, tmp_path):
    model, entry = build_tiny(name), MODELS[name]
    proto = convert_onnx(model, {})
    assert store_half(proto, name, 64).ByteSize() < 0.65 * proto.ByteSize()
    small, _ = halve_gated(proto, entry, SPEC, name)
    assert small.ByteSize() < 0.8 * proto.ByteSize()
    feed = sample_feed(entry, 3, SPEC, seed=5)  # not what the gate saw
    ours, theirs = open_run(proto)(feed), open_run(small)(feed)
    np.testing.assert_allclose(theirs["logits"], ours["logits"], atol=1e-2)
    reduce = partial(halve_gated, entry=entry, spec=SPEC, name=name)
    export_bundle(model, entry, SPEC, FACTS, tmp_path / "b", ("onnx",), reduce)
    info = json.loads((tmp_path / "b/bundle.json").read_text())
    assert info["precision"] == "fp16"
    assert info["quantisation"]["parity"]["max_difference"]["logits"] <= 1e-2
    assert "float16" in (tmp_path / "b/README.md").read_text()
    assert load(tmp_path / "b").run(feed)["logits"].shape == (3, 7)


def test_half_keeps_small_kernels_where_it_must(monkeypatch):
    entry, proto = MODELS["audio_cnn"], convert_onnx(build_tiny("audio_cnn"), {})
    tried = []

    def watch(proto, name, n_least):
        tried.append(n_least)
        return break_scores(proto, [], name) if n_least == 64 else store_half(proto, name, n_least)

    monkeypatch.setattr(quantize, "HALF_TOLERANCE", 0.1)
    monkeypatch.setattr(quantize, "store_half", watch)
    _, facts = halve_gated(proto, entry, SPEC, "audio_cnn")
    assert tried == [64, 4096]
    assert facts["quantisation"]["least_elements"] == 4096
    monkeypatch.setattr(quantize, "store_half", lambda p, name, n: break_scores(p, [], name))
    with pytest.raises(ExportError, match="differ"):
        halve_gated(proto, entry, SPEC, "audio_cnn")
    monkeypatch.undo()
    with pytest.raises(NothingToQuantize, match="float16"):
        store_half(proto, "audio_cnn", 1 << 30)


def test_half_refuses_what_it_cannot_hold():
    proto = convert_onnx(build_tiny("audio_cnn"), {})
    tensor = max(proto.graph.initializer, key=lambda t: np.prod(t.dims))
    value = numpy_helper.to_array(tensor).copy()
    value.flat[0] = 1e6
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(ExportError, match="beyond float16"):
        store_half(proto, "x", 64)
