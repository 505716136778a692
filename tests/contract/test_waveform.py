"""waveform.onnx: sound in, the same answer as through numpy."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from keras_emo import load  # noqa: E402
from keras_emo.export import waveform  # noqa: E402
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.onnx import ExportError, convert_onnx  # noqa: E402
from keras_emo.export.parity import run_onnx, sample_feed, sample_sounds  # noqa: E402
from keras_emo.export.waveform import build_features  # noqa: E402
from keras_emo.features.mfcc import compute_mfcc  # noqa: E402
from keras_emo.inference.session import open_session  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402
from keras_emo.spec import AudioSpec  # noqa: E402

from .small_networks import PROVENANCE, SPEC, build_tiny  # noqa: E402

pytestmark = pytest.mark.tensorflow

SPECS = {
    "default": SPEC.audio,
    "16 kHz": AudioSpec(sample_rate_hz=16_000, n_fft=512, hop_length=160, n_mels=64, n_mfcc=13),
    "other hop": replace(
        SPEC.audio, hop_length=700, duration_s=1.7, fmin_hz=50.0, fmax_hz=11_025.0
    ),
    "whole band": AudioSpec(sample_rate_hz=16_000, n_fft=400, hop_length=100, duration_s=0.77),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_features_are_those_of_numpy(spec):
    session = open_session(build_features(spec).SerializeToString(), 2)
    sounds = sample_sounds(spec)
    pure = np.sin(2 * np.pi * 300 * np.arange(spec.n_samples) / spec.sample_rate_hz)
    cut = np.where(np.arange(spec.n_samples) < spec.n_samples // 3, sounds[0], 0)
    sounds = np.stack([*sounds, pure, np.sign(pure), cut]).astype(np.float32)
    expected = np.stack([compute_mfcc(s, spec) for s in sounds])
    (together,) = session.run(None, {"waveform": sounds})
    np.testing.assert_allclose(together, expected, atol=1e-3)
    for i, sound in enumerate(sounds):  # the floor of top_db is a clip's own
        (alone,) = session.run(None, {"waveform": sound[None]})
        np.testing.assert_allclose(alone[0], expected[i], atol=1e-3)


def test_small_kernels_and_standard_operators_without_a_transform():
    proto = build_features(SPEC.audio)
    assert proto.ByteSize() < 1_300_000
    onnx.checker.check_model(proto, full_check=True)
    types = {n.op_type for n in proto.graph.node}
    assert not types & {"STFT", "DFT", "MelWeightMatrix", "Loop", "If"}
    assert {n.domain for n in proto.graph.node} == {""}


def test_bundle_with_waveform(tmp_path):
    entry, folder = MODELS["fusion_multi_lstm"], tmp_path / "b"
    model = build_tiny(entry.name)
    export_bundle(model, entry, SPEC, PROVENANCE, folder, ("onnx",), waveform=True)
    info = json.loads((folder / "bundle.json").read_text())
    known = info["waveform"]
    assert known["max_difference"]["features"] <= 1e-3
    assert known["max_difference"]["probs"] <= 1e-4
    assert known["batches"] == [1, 7]
    assert known["file"] in info["files"]
    assert "waveform.onnx" in (folder / "README.md").read_text()
    session = open_session(folder / "waveform.onnx", 1)
    inputs = ["waveform" if i == "mfcc" else i for i in entry.inputs]
    assert sorted(i.name for i in session.get_inputs()) == sorted(inputs)
    lone = {p.key: p.value for p in onnx.load(folder / "waveform.onnx").metadata_props}
    assert [i["name"] for i in json.loads(lone["inputs"])] == inputs
    sounds, predictor = sample_sounds(SPEC.audio)[2:5], load(folder, threads=1)
    feed = sample_feed(entry, 3, SPEC, seed=3)
    mfcc = np.stack([compute_mfcc(s, SPEC.audio) for s in sounds])
    expected = predictor.run({**feed, "mfcc": mfcc})["probs"]
    del feed["mfcc"]
    (probs,) = session.run(["probs"], {**feed, "waveform": sounds})
    np.testing.assert_allclose(probs, expected, atol=1e-4)


def test_a_graph_that_hears_something_else_is_refused(tmp_path, monkeypatch):
    entry, proto = MODELS["audio_cnn"], convert_onnx(build_tiny("audio_cnn"), {})
    wrong = replace(SPEC.audio, fmin_hz=20.0)
    build = waveform.build_features
    monkeypatch.setattr(waveform, "build_features", lambda spec: build(wrong))
    with pytest.raises(ExportError, match="differ from the numpy path"):
        waveform.write_waveform(
            proto, entry, SPEC, "fp32", tmp_path / "waveform.onnx", run_onnx(proto)
        )
