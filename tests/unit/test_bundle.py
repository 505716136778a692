import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_emo.errors import BundleError, ExitCode, Reason
from keras_emo.features.mtcnn import NETWORKS
from keras_emo.inference import bundle
from keras_emo.inference import model as model_module
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.manifest import BundleManifest, Quantization, References, TensorSpec
from keras_emo.io import digest_file
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=64))
REQUIRED = (
    "schema", "name", "model", "labels", "modalities", "frames", "inputs", "outputs",
    "clip_spec", "detector", "opset", "versions", "corpus", "metrics", "parity", "files",
)  # fmt: skip
FILES = ("model.onnx", "golden.npz", *(f"detector/{n}" for n in NETWORKS))


def tensor(name: str, **changes) -> dict:
    return {"name": name, "dtype": "float32", "shape": ["batch", 7]} | changes


def describe(folder: Path, **changes) -> None:
    """Write bundle.json; a change to None leaves the entry out."""
    data = {name: (folder / name).read_bytes() for name in FILES}
    digests = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in data.items()
    }
    info = {
        "schema": 1, "name": "test", "model": "fusion_concat", "labels": list(EMOTIONS),
        "modalities": ["face", "voice"], "frames": "all",
        "inputs": [tensor("face"), tensor("mfcc")], "outputs": [tensor("logits")],
        "clip_spec": SPEC.to_dict(), "detector": {}, "opset": 17, "versions": {},
        "corpus": {"name": "ravdess", "split": {"train": ["1"], "val": ["2"], "test": []}},
        "metrics": {}, "parity": {}, "files": digests,
    } | changes  # fmt: skip
    text = json.dumps({k: v for k, v in info.items() if v is not None})
    (folder / "bundle.json").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle of arbitrary bytes: loading verifies, it does not run."""
    folder = tmp_path / "bundle"
    (folder / "detector").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(name.encode() * 100)
    describe(folder)
    return folder


def refused(folder: Path, *mentioned: str, reason=Reason.BAD_BUNDLE) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.exit_code is ExitCode.BUNDLE_REFUSED == 5
    assert caught.value.reason is reason
    for text in mentioned:
        assert text in str(caught.value)


def digests(folder: Path) -> dict:
    return json.loads((folder / "bundle.json").read_text())["files"]


def test_whole_bundle(folder):
    loaded, manifest = load_bundle(folder), load_bundle(folder).manifest
    assert (loaded.spec, loaded.inputs, loaded.outputs) == (SPEC, ("face", "mfcc"), ("logits",))
    assert (loaded.modalities, manifest.frames) == (("face", "voice"), "all")
    assert loaded.model_path == folder / "model.onnx"
    assert loaded.detector_folder.is_dir()
    assert manifest.outputs == (TensorSpec("logits", "float32", ("batch", 7)),)
    assert manifest.corpus.split.train == ("1",)
    assert (manifest.name, manifest.license, manifest.precision) == ("test", "unknown", "fp32")


def test_old_names_of_entries(folder):
    judges = {"n_networks": 2, "speakers": ["1"]}
    describe(folder, licence="MIT", quantisation={"method": "QDQ", "judges": judges})
    manifest = load_bundle(folder).manifest
    found = Quantization("QDQ", references=References(2, ("1",)))
    assert (manifest.license, manifest.quantization) == ("MIT", found)
    written = manifest.to_dict()
    assert not {"licence", "quantisation"} & set(written)
    assert BundleManifest.from_dict(written) == manifest


def test_folder_or_description_is_missing(folder, tmp_path):
    refused(tmp_path / "gone", "gone", reason=Reason.NO_BUNDLE)
    refused(folder / "model.onnx", "model.onnx", reason=Reason.NO_BUNDLE)
    (folder / "bundle.json").unlink()
    refused(folder, "bundle.json", reason=Reason.NO_BUNDLE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1'])
def test_description_that_is_no_object(content, folder):
    (folder / "bundle.json").write_bytes(content)
    refused(folder, "bundle.json")


@pytest.mark.parametrize("key", REQUIRED)
def test_missing_entry_is_named(key, folder):
    describe(folder, **{key: None})
    refused(folder, "bundle.json", "schema None" if key == "schema" else f"{key!r} is missing")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("schema", value) for value in (2, "1")),
        *(("labels", value) for value in (EMOTIONS[::-1], [*EMOTIONS, "calm"], [], 7)),
        ("frames", "some"),
        ("clip_spec", {}), ("clip_spec", []),
        *(("clip_spec", {**SPEC.to_dict(), "audio": audio})
          for audio in ({"n_mfcc": 500}, {"n_mfc": 20})),
        ("files", ["model.onnx"]), ("files", {}),
        ("inputs", ["face"]), ("inputs", [{"shape": [1]}]), ("inputs", []),
        ("inputs", [tensor("waveform")]),
        *(("inputs", [tensor("face", **change)])
          for change in ({"dtype": "int8"}, {"shape": [0]}, {"shape": [True]}, {"shape": "batch"},
                         {"range": [0, "1"]})),
        *(("modalities", value) for value in (3, ["face", "mind"], [])),
        ("outputs", [3]), ("outputs", [tensor("probs")]),
        *(("corpus", value) for value in (
            {}, {"split": ["1"]}, {"name": "a", "split": {"train": [], "val": []}},
            {"name": "a", "split": {"train": [1], "val": [], "test": []}})),
        ("metrics", {"test": {"accuracy": 1}}), ("parity", {"onnx": {}}), ("opset", "18"),
    ],
)  # fmt: skip
def test_entry_of_another_form(key, value, folder):
    describe(folder, **{key: value})
    refused(folder, "bundle.json", key)


@pytest.mark.parametrize("name", FILES)
def test_altered_and_removed_files(name, folder):
    data = (folder / name).read_bytes()
    for altered in (data[:-1], data[:-1] + b"?"):
        (folder / name).write_bytes(altered)
        refused(folder, name, "sha256")
    (folder / name).unlink()
    refused(folder, name, "not a file")
    (folder / name).mkdir()
    refused(folder, name, "not a file")


def test_digest_of_another_form(folder):
    named = digests(folder)
    for value in (None, "abc", {}, {"sha256": None}):
        describe(folder, files={**named, "golden.npz": value})
        refused(folder, "golden.npz")


def test_names_that_lead_out(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    named, entry = digests(folder), {"sha256": digest_file(outside), "bytes": 1}
    for name in ("../outside", "detector/../../outside", str(outside)):
        describe(folder, files={**named, name: entry})
        refused(folder, name, "not a file here")


@pytest.mark.parametrize("name", ["model.onnx", "detector"])
def test_links_are_refused(name, folder, tmp_path):
    moved = (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(moved)
    refused(folder, name)


def test_files_that_cannot_be_read_are_refused(folder, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(bundle, "digest_file", fail)
    refused(folder, "model.onnx", "Permission denied")


@pytest.mark.parametrize(("inputs", "outputs"), [("face", "probs"), ("mfcc", "logits")])
def test_names_of_another_network_are_refused(inputs, outputs, folder, monkeypatch):
    describe(folder, inputs=[tensor("face")])
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name=inputs)],
        get_outputs=lambda: [SimpleNamespace(name=outputs)],
    )
    monkeypatch.setattr(model_module, "open_session", lambda *_, **__: session)
    with pytest.raises(BundleError, match=r"bundle\.json has"):
        model_module.Model(load_bundle(folder))


def test_weights_in_another_file_are_refused(folder):
    model = folder / "model.onnx"
    model.write_bytes(b"\x0a\x08location\x12\x07../else" + model.read_bytes())
    describe(folder)
    refused(folder, "model.onnx", "another file")
