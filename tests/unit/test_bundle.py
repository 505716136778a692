import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_emo.errors import BundleError, ExitCode, Reason
from keras_emo.features.mtcnn import NETWORKS
from keras_emo.inference import bundle
from keras_emo.inference import model as predictor
from keras_emo.inference.bundle import REQUIRED, digest_file, load_bundle
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=64))
FILES = ("model.onnx", "golden.npz", *(f"detector/{n}" for n in NETWORKS))


def describe(folder: Path, **changes) -> None:
    """Write bundle.json; a change to None leaves the entry out."""
    digests = {n: {"sha256": hashlib.sha256((folder / n).read_bytes()).hexdigest()} for n in FILES}
    info = {
        "schema": 1,
        "name": "test",
        "model": "fusion_concat",
        "labels": list(EMOTIONS),
        "modalities": ["face", "voice"],
        "frames": "all",
        "inputs": [{"name": "face"}, {"name": "mfcc"}],
        "outputs": [{"name": "logits"}],
        "clip_spec": SPEC.to_dict(),
        "detector": {},
        "opset": 17,
        "versions": {},
        "corpus": {"split": {"train": ["1"], "val": ["2"], "test": []}},
        "metrics": {},
        "parity": {},
        "files": digests,
    } | changes
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
    loaded = load_bundle(folder)
    assert loaded.spec == SPEC
    assert (loaded.inputs, loaded.outputs) == (("face", "mfcc"), ("logits",))
    assert loaded.frames == "all"
    assert loaded.modalities == ("face", "voice")
    assert loaded.model_path == folder / "model.onnx"
    assert loaded.detector_folder.is_dir()
    assert loaded.info["name"] == "test"


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
    refused(folder, "bundle.json", repr(key))


@pytest.mark.parametrize("schema", [0, 2, "1", "two"])
def test_other_schema(schema, folder):
    describe(folder, schema=schema)
    refused(folder, "bundle.json", f"schema {schema}, expected 1")


@pytest.mark.parametrize(
    "labels", [[EMOTIONS[1], EMOTIONS[0], *EMOTIONS[2:]], EMOTIONS[:6], [*EMOTIONS, "calm"], []]
)
def test_other_labels(labels, folder):
    describe(folder, labels=list(labels))
    refused(folder, "bundle.json", "labels")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frames", "some"),
        ("clip_spec", {}),
        ("clip_spec", {**SPEC.to_dict(), "audio": {"n_mfcc": 500}}),
        ("clip_spec", {**SPEC.to_dict(), "audio": {"n_mfc": 20}}),
        ("clip_spec", []),
        ("labels", 7),
        ("files", ["model.onnx"]),
        ("files", {}),
        ("inputs", ["face"]),
        ("inputs", [{"shape": [1]}]),
        ("modalities", 3),
        ("outputs", [3]),
        ("corpus", {}),
        ("corpus", {"split": ["1"]}),
        ("corpus", {"split": {"train": [], "val": []}}),
    ],
)
def test_entry_of_another_form(key, value, folder):
    describe(folder, **{key: value})
    refused(folder, "bundle.json", key)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_is_noticed(name, folder):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    refused(folder, name, "sha256")


@pytest.mark.parametrize("name", FILES)
def test_removed_and_cut_files(name, folder):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
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
    named, entry = digests(folder), {"sha256": digest_file(outside)}
    for name in ("../outside", "detector/../../outside", str(outside)):
        describe(folder, files={**named, name: entry})
        refused(folder, "bundle.json", name, "leads out")


def test_links_are_refused(folder, tmp_path):
    moved = (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(moved)
    refused(folder, "model.onnx")


def test_linked_folder_is_refused(folder, tmp_path):
    moved = (folder / "detector").rename(tmp_path / "elsewhere")
    (folder / "detector").symlink_to(moved)
    refused(folder, "detector")


def test_files_that_cannot_be_read_are_refused(folder, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(bundle, "digest_file", fail)
    refused(folder, "model.onnx", "Permission denied")


@pytest.mark.parametrize(("inputs", "outputs"), [("face", "probs"), ("mfcc", "logits")])
def test_names_of_another_network_are_refused(inputs, outputs, folder, monkeypatch):
    describe(folder, inputs=[{"name": "face"}])
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name=inputs)],
        get_outputs=lambda: [SimpleNamespace(name=outputs)],
    )
    monkeypatch.setattr(predictor, "open_session", lambda *_: session)
    with pytest.raises(BundleError, match=r"bundle\.json says"):
        predictor.Predictor(folder, 1)


def test_weights_in_another_file_are_refused(folder):
    model = folder / "model.onnx"
    model.write_bytes(b"\x0a\x08location\x12\x07../else" + model.read_bytes())
    describe(folder)
    refused(folder, "model.onnx", "another file")
