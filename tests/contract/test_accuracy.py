"""The accuracy check: whom int8 is calibrated on, whom it is scored on, when it is refused."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper  # noqa: E402

import keras_emo  # noqa: E402
from keras_emo.data.corpus import Sample  # noqa: E402
from keras_emo.data.splits import Split, select  # noqa: E402
from keras_emo.errors import EnvironmentFailure, ExitCode, Reason, UsageError  # noqa: E402
from keras_emo.export import accuracy  # noqa: E402
from keras_emo.export.accuracy import (  # noqa: E402
    AccuracyCheck,
    Reference,
    check_drop,
    choose_samples,
    halve_checked,
    open_check,
    quantize_checked,
)
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.onnx import ExportError, convert_onnx  # noqa: E402
from keras_emo.export.parity import run_onnx  # noqa: E402
from keras_emo.export.quantize import quantize_int8, store_half  # noqa: E402
from keras_emo.features.clip import ClipInputs  # noqa: E402
from keras_emo.inference.batch import predict_clips  # noqa: E402
from keras_emo.inference.manifest import References, SplitAccuracy  # noqa: E402
from keras_emo.labels import EMOTIONS  # noqa: E402
from keras_emo.media.reader import ClipSource  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402
from keras_emo.records import write_fields  # noqa: E402
from keras_emo.training.config import RunManifest, TrainConfig  # noqa: E402

from .small_networks import PROVENANCE, SPEC, build_tiny  # noqa: E402

pytestmark = pytest.mark.tensorflow

ENTRY = MODELS["audio_cnn"]


@dataclass(frozen=True)
class PreparedClips:
    """Prepared clips in memory, as training.data.Prepared has them on disk."""

    samples_of_all: tuple[Sample, ...]
    inputs: dict[str, ClipInputs]
    split: Split = field(default_factory=lambda: Split(("a", "b"), ("c",), ("d",)))
    spec = SPEC
    loaded: list[str] = field(default_factory=list)

    @property
    def cache(self) -> SimpleNamespace:
        return SimpleNamespace(files=self.inputs)

    def samples(self, split: str) -> list[Sample]:
        return select(self.samples_of_all, self.split, split)

    def load(self, sample: Sample) -> ClipInputs:
        self.loaded.append(sample.sample_id)
        return self.inputs[sample.sample_id]

    def clips(self, split: str) -> list[tuple[Sample, SimpleNamespace]]:
        return [(s, SimpleNamespace(load=partial(self.load, s))) for s in self.samples(split)]


def make_clip(rng) -> ClipInputs:
    mfcc = rng.normal(0, 25, SPEC.audio.shape).astype(np.float32)
    mfcc[0] -= 300
    face = rng.integers(0, 256, (3, 7, 7, 3)).astype(np.uint8).repeat(32, 1).repeat(32, 2)
    boxes = np.zeros((3, 4), np.float32)
    return ClipInputs(face, np.ones(3, bool), np.arange(3.0), boxes, mfcc, 3.0, 3)


@pytest.fixture(scope="module")
def prepared() -> PreparedClips:
    """Four speakers with one clip of each class; one clip has no face, one no sound."""
    rng, samples, clips = np.random.default_rng(0), [], {}
    for speaker in "abcd":
        for emotion in EMOTIONS:
            name = f"{speaker}/{emotion}"
            samples.append(Sample(name, "builtin", speaker, "female", emotion, ClipSource()))
            clips[name] = make_clip(rng)
    clips["a/angry"] = replace(clips["a/angry"], face=None)
    clips["b/angry"] = replace(clips["b/angry"], mfcc=None)
    return PreparedClips(tuple(samples), clips)


@pytest.fixture(scope="module")
def network():
    """(Keras network, its float32 graph)."""
    model = build_tiny("audio_cnn")
    return model, convert_onnx(model, {})


@pytest.fixture
def agreeing(prepared, network):
    """The same clips, labeled as the float32 network predicts them."""
    samples = []
    for split in ("train", "val", "test"):
        run = run_onnx(network[1])
        clips = [prepared.load(sample) for sample in prepared.samples(split)]
        probs = predict_clips(run, clips, ENTRY.inputs, ENTRY.frames, SPEC)
        for sample, row in zip(prepared.samples(split), probs, strict=True):
            label = EMOTIONS[int(np.nan_to_num(row).argmax())]
            samples.append(replace(sample, emotion=label))
    return replace(prepared, samples_of_all=tuple(samples))


def test_only_training_clips_are_read_for_calibration(prepared, monkeypatch):
    def stop(proto, feeds, name):
        assert len(list(feeds)) == 13  # one clip of 14 has no face
        raise EnvironmentFailure("stop", Reason.WRITE_FAILED, "")

    monkeypatch.setattr(accuracy, "quantize_int8", stop)
    watched = replace(prepared, loaded=[])
    with pytest.raises(EnvironmentFailure):
        quantize_checked(onnx.ModelProto(), MODELS["visual_alexnet"], AccuracyCheck(watched, 1.0))
    assert {name[0] for name in watched.loaded} == {"a", "b"}


def test_speakers_of_other_splits_are_refused(prepared):
    """Should the choice of samples ever go wrong, nothing is calibrated on them."""

    class Leaky(PreparedClips):
        def samples(self, split):
            return [*super().samples("train"), *super().samples("val")]

    leaky = Leaky(prepared.samples_of_all, prepared.inputs)
    with pytest.raises(UsageError, match="nobody else"):
        choose_samples(leaky, ENTRY)


def test_classes_are_even_and_the_choice_repeats(prepared, monkeypatch):
    monkeypatch.setattr(accuracy, "CLIPS_PER_CLASS", 1)
    first, again = (choose_samples(prepared, MODELS["fusion_concat"]) for _ in range(2))
    assert [s.emotion for s in first] == list(EMOTIONS)
    assert first == again


def test_int8_bundle(agreeing, network, tmp_path):
    reduce = partial(quantize_checked, check=AccuracyCheck(agreeing, 50.0))
    exported = export_bundle(
        network[0], ENTRY, SPEC, PROVENANCE, tmp_path / "b", ("onnx",), reduce, waveform=True
    )
    assert exported.parity["onnx"].max_difference["logits"] <= 1e-4  # of the float32 graph
    manifest = json.loads((tmp_path / "b/bundle.json").read_text())
    assert manifest["precision"] == "int8"
    made = manifest["quantization"]
    assert made["calibration"] == {"n_clips": 13, "speakers": ["a", "b"]}  # one has no sound
    assert set(made["accuracy"]) == {"val", "test"}
    assert made["accuracy"]["val"]["n_clips"] == 7
    assert made["accuracy"]["val"]["fp32"] == 1.0  # the labels are its own predictions
    card = (tmp_path / "b/README.md").read_text()
    assert "computes in int8" in card
    assert "| val | 7 | 100.0 |" in card
    model = keras_emo.load(tmp_path / "b", threads=1)
    with np.load(tmp_path / "b/golden.npz") as golden:
        outputs = model.run({"mfcc": golden["in_mfcc"]})
        np.testing.assert_allclose(outputs["logits"], golden["out_logits"], atol=1e-4)
    val = agreeing.samples("val")
    predicted = model.compute_probs([agreeing.load(s) for s in val]).argmax(axis=1)
    right = (predicted == [s.label for s in val]).mean()
    assert right == made["accuracy"]["val"]["int8"]
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "b/model.onnx").metadata_props}
    assert (metadata["precision"], metadata["model"]) == ("int8", "audio_cnn")


def negate_logits(proto, feeds=(), name=""):
    """A quantization that went wrong: the order of the classes is reversed."""
    list(feeds)
    small = onnx.ModelProto()
    small.CopyFrom(proto)
    last = next(n for n in small.graph.node if "logits" in n.output)
    kept, last.output[0] = last.output[0], "straight"
    small.graph.initializer.append(numpy_helper.from_array(np.float32(-1), "minus"))
    index = list(small.graph.node).index(last)
    small.graph.node.insert(index + 1, onnx.helper.make_node("Mul", ["straight", "minus"], [kept]))
    return small


def test_int8_that_costs_accuracy_is_refused(agreeing, network, monkeypatch):
    monkeypatch.setattr(accuracy, "quantize_int8", negate_logits)
    with pytest.raises(ExportError) as caught:
        quantize_checked(network[1], ENTRY, AccuracyCheck(agreeing, 1.0))
    assert caught.value.reason is Reason.ACCURACY_DROP
    assert caught.value.exit_code is ExitCode.REJECTED
    for figure in ("0.00 %", "100.00 %", "1 points"):
        assert figure in str(caught.value)


def test_references_stand_in_for_a_network_without_validation_speakers(
    agreeing, network, monkeypatch
):
    """Each is calibrated on its own training and scored on its own validation speakers."""
    proto, calibrated, spoiled = network[1], [], []

    def watch(graph, feeds, name):
        feeds = list(feeds)
        calibrated.append(len(feeds))
        if len(calibrated) in spoiled:
            return negate_logits(graph)
        return quantize_int8(graph, feeds, name)

    monkeypatch.setattr(accuracy, "quantize_int8", watch)
    second = replace(agreeing, split=Split(train=("c", "d"), val=("a",), test=("b",)))
    references = tuple(Reference(clips, lambda _: proto) for clips in (agreeing, second))
    everybody = replace(agreeing, split=Split(train=("a", "b", "c", "d"), val=(), test=()))
    check = AccuracyCheck(everybody, 50.0, references)
    made = quantize_checked(proto, ENTRY, check).quantization
    usable = Counter(s.emotion for s in agreeing.samples_of_all if s.sample_id != "b/angry")
    at_most_20 = sum(min(20, n) for n in usable.values())
    assert calibrated == [at_most_20, 13, 14]  # b/angry has no sound
    assert made.calibration.speakers == ("a", "b", "c", "d")
    assert made.references == References(2, ("a", "c"))
    assert set(made.accuracy) == {"val"}
    assert (made.accuracy["val"].n_clips, made.accuracy["val"].fp32) == (14, 1.0)
    spoiled.append(len(calibrated) + 3)  # one bad reference of two is enough
    with pytest.raises(ExportError) as caught:
        quantize_checked(proto, ENTRY, replace(check, max_drop_points=1.0))
    assert caught.value.reason is Reason.ACCURACY_DROP


def test_one_point_is_the_limit():
    for before, after in ((0.80, 0.79), (0.5, 0.9), (0.8, 0.8)):
        check_drop(SplitAccuracy(100, before, after, 0.9), 1.0, "x")
    with pytest.raises(ExportError, match=r"80\.00"):
        check_drop(SplitAccuracy(100, 0.80, 0.78999, 0.9), 1.0, "x")


def test_half_bundle(network, tmp_path):
    reduce = partial(halve_checked, spec=SPEC)
    export_bundle(network[0], ENTRY, SPEC, PROVENANCE, tmp_path / "b", ("onnx",), reduce)
    manifest = json.loads((tmp_path / "b/bundle.json").read_text())
    assert manifest["precision"] == "fp16"
    made = manifest["quantization"]
    assert made["max_difference"]["logits"] <= 1e-2
    assert made["bytes"]["fp16"] < 0.65 * made["bytes"]["fp32"]
    assert "float16" in (tmp_path / "b/README.md").read_text()


def test_half_keeps_small_kernels_where_it_must(network, monkeypatch):
    tried = []

    def watch(proto, name, min_elements):
        tried.append(min_elements)
        wrong = min_elements == 64
        return negate_logits(proto) if wrong else store_half(proto, name, min_elements)

    monkeypatch.setattr(accuracy, "HALF_TOLERANCE", 0.1)
    monkeypatch.setattr(accuracy, "store_half", watch)
    reduced = halve_checked(network[1], ENTRY, SPEC)
    assert tried == [64, 4096]
    assert reduced.quantization.min_elements == 4096
    monkeypatch.setattr(accuracy, "store_half", lambda proto, name, n: negate_logits(proto))
    with pytest.raises(ExportError, match="differ"):
        halve_checked(network[1], ENTRY, SPEC)


@pytest.fixture
def write_run(tmp_path, prepared, monkeypatch):
    """Run folders of a network that was trained on the prepared clips."""
    monkeypatch.setattr(accuracy, "assert_disjoint", lambda *_: None)
    monkeypatch.setattr(accuracy, "digest_clips", lambda _: "5" * 16)
    monkeypatch.setattr(
        accuracy, "prepare", lambda corpus, split, *_: replace(prepared, split=split)
    )

    def write(name, seed=0, val=("c",), clips="5" * 16):
        config = TrainConfig(stages=("audio_cnn",), seed=seed, val=1)
        train = tuple(speaker for speaker in "abc" if speaker not in val)
        manifest = RunManifest(config, Split(train, val, ("d",)), "builtin", clips, {})
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(write_fields(manifest)))
        return tmp_path / name

    return write


def test_each_of_several_runs_is_a_reference(write_run, prepared, tmp_path):
    corpus = SimpleNamespace(name="builtin", samples=prepared.samples_of_all)
    runs = [write_run("seed0"), write_run("seed1", seed=1, val=("a",))]
    check = open_check(runs, [], corpus, tmp_path, 0, 1.0)
    assert [r.prepared.split.val for r in check.references] == [("c",), ("a",)]
    assert open_check(runs[:1], [], corpus, tmp_path, 0, 1.0).references == ()
    everybody = write_run("everybody", val=())
    with pytest.raises(UsageError, match="--reference-run"):
        open_check([everybody], [], corpus, tmp_path, 0, 1.0)
    check = open_check([everybody], runs, corpus, tmp_path, 0, 1.0)
    assert (check.prepared.split.val, len(check.references)) == ((), 2)


def test_another_corpus_or_other_clips_are_refused(write_run, prepared, tmp_path):
    run, other = write_run("run"), write_run("other", clips="6" * 16)
    for folder, name, cause in (
        (run, "savee", "trained on builtin, --data is savee"),
        (other, "builtin", "not those of the run"),
    ):
        corpus = SimpleNamespace(name=name, samples=prepared.samples_of_all)
        with pytest.raises(UsageError, match=cause):
            open_check([folder], [], corpus, tmp_path, 0, 1.0)
