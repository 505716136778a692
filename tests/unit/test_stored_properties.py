"""Bundles, caches and states that somebody altered: used as they are, or refused."""

import io
import json
import shutil
import tokenize
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_emo.arrays import read_arrays
from keras_emo.cli import verify
from keras_emo.data.cache import count_crops, load_clip, load_mfcc
from keras_emo.data.corpora import read_corpus
from keras_emo.errors import BundleError, ClipError, Reason, UsageError
from keras_emo.features.mtcnn import NETWORKS
from keras_emo.inference.bundle import digest_file, load_bundle, load_golden
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec
from keras_emo.training.checkpoint import Checkpoints

DEFAULT = Path(__file__).resolve().parents[2] / "saved_models" / "default"
DEEP = b"[" * 100_000  # beyond the recursion that json allows itself
IDENTITY = {"seed": 0, "split": "a"}
FILES = ("model.onnx", *(f"detector/{n}" for n in NETWORKS))

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def alterations(draw, data):
    """The same plain values with one of them, at any depth, replaced."""
    if isinstance(data, dict | list) and data and draw(st.integers(0, 5)):
        keys = sorted(data) if isinstance(data, dict) else range(len(data))
        key = draw(st.sampled_from(keys))
        copy = data.copy()
        copy[key] = draw(alterations(data[key]))
        return copy
    return draw(values)


# bundles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def description(bundle: Path) -> dict:
    return {
        "schema": 1, "name": "a", "model": "fusion_concat", "labels": list(EMOTIONS),
        "modalities": ["face", "voice"], "frames": "all",
        "inputs": [{"name": "face"}, {"name": "mfcc"}], "outputs": [{"name": "logits"}],
        "clip_spec": ClipSpec().to_dict(), "detector": {}, "opset": 17, "versions": {},
        "corpus": {"split": {"train": ["1"], "val": ["2"], "test": []}}, "metrics": {},
        "parity": {}, "files": {n: {"sha256": digest_file(bundle / n)} for n in FILES},
    }  # fmt: skip


@shared
@given(data=st.data())
def test_description_with_any_value(data, bundle):
    altered = data.draw(alterations(description(bundle)))
    (bundle / "bundle.json").write_text(json.dumps(altered), encoding="utf-8")
    try:
        loaded = load_bundle(bundle)
    except BundleError:
        return
    assert {*loaded.modalities} <= {"face", "voice"}
    assert {*loaded.inputs} <= {"face", "face_mask", "mfcc", "mfcc_mask"}
    assert "logits" in loaded.outputs


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modalities", []),
        ("modalities", [["face"]]),
        ("modalities", ["face", "smell"]),
        ("inputs", []),
        ("inputs", [{"name": "waveform"}]),
        ("outputs", []),
        ("outputs", [{"name": "probs"}]),
        ("corpus", {"split": {"train": [1], "val": [], "test": []}}),
        ("corpus", {"split": {"train": [[]], "val": [], "test": []}}),
        ("clip_spec", {**ClipSpec().to_dict(), "face": {"margin": 10**400}}),
        ("clip_spec", {**ClipSpec().to_dict(), "face": {"size_px": 64.5}}),
    ],
)
def test_entries_that_could_not_be_used(key, value, bundle):
    (bundle / "bundle.json").write_text(json.dumps(description(bundle) | {key: value}))
    with pytest.raises(BundleError, match=key):
        load_bundle(bundle)


def test_deep_descriptions(bundle, tmp_path):
    (bundle / "bundle.json").write_bytes(DEEP)
    with pytest.raises(BundleError, match="not readable as JSON"):
        load_bundle(bundle)


@pytest.mark.parametrize("arrays", [{}, {"in_mfcc": 1}, {"out_logits": 1}, {"other": 1}])
def test_golden_values_that_are_none(arrays, tmp_path):
    np.savez(tmp_path / "golden.npz", **arrays)
    with pytest.raises(BundleError, match="lacks golden"):
        load_golden(tmp_path / "golden.npz")
    with pytest.raises(BundleError, match="no golden values can be read"):
        load_golden(tmp_path / "gone.npz")


def spoil(golden: dict[str, np.ndarray], how: str) -> None:
    """Golden values of which one would have passed, or ended in another error than a refusal."""
    name = list(golden)[-1]  # an output
    if how == "nan":  # the largest of 0 and NaN is 0 in Python
        golden[name] = np.full_like(golden[name], np.nan)
    elif how == "shape":
        golden["in_face"] = golden["in_face"][..., :-1]
    elif how == "input missing":
        del golden["in_face"]
    elif how == "output unknown":
        golden["out_other"] = golden[name]
    elif how == "text":
        golden[name] = np.array("text")
    elif how == "empty":
        golden[name] = golden[name][:0, :0]


@pytest.mark.parametrize(
    "how", ["nan", "shape", "input missing", "output unknown", "text", "empty"]
)
def test_golden_values_of_another_network(how, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(DEFAULT, folder)
    golden = read_arrays(folder / "golden.npz")
    spoil(golden, how)
    np.savez(folder / "golden.npz", **golden)
    known = json.loads((folder / "bundle.json").read_text())
    known["files"]["golden.npz"] = {"sha256": digest_file(folder / "golden.npz")}
    (folder / "bundle.json").write_text(json.dumps(known))
    with pytest.raises(BundleError) as caught:
        verify.run(Namespace(bundle=folder, key=None))
    assert "sha256" not in caught.value.cause


# arrays


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def describe_member(at: int, value: int) -> bytes:
    """An archive whose index says something else of its member: 8 flags, 10 compression."""
    data = bytearray(archive(mfcc=b"x"))
    data[data.index(b"PK\x01\x02") + at] = value
    return bytes(data)


ODD_ARRAYS = {
    "open bracket": archive(mfcc=npy(b"{'descr': '<f4', 'shape': (\n")),
    "huge": archive(mfcc=npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1<<62,)}\n")),
    "large": archive(mfcc=npy(b"{'descr':'<f8','fortran_order':False,'shape':(%d,)}\n" % 10**13)),
    "objects": archive(mfcc=npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n")),
    "one array": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n") + bytes(4),
    "encrypted": describe_member(8, 1),
    "other method": describe_member(10, 99),
    "no array": archive(mfcc=b"x"),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD_ARRAYS)
def test_odd_archives(kind, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(ODD_ARRAYS[kind])
    for load in (load_clip, load_mfcc, count_crops):
        with pytest.raises(ClipError) as caught:
            load(path)
        assert caught.value.reason is Reason.UNREADABLE
    with pytest.raises(BundleError):
        load_golden(path)


def test_what_numpy_lets_through(tmp_path):
    """Its header's reader raises errors of the tokenizer, which are no ValueError."""
    path = tmp_path / "a.npz"
    path.write_bytes(ODD_ARRAYS["open bracket"])
    with pytest.raises(ValueError, match="Error") as caught:
        read_arrays(path)
    assert isinstance(caught.value.__cause__, tokenize.TokenError | SyntaxError | ValueError)


facts = {"duration_s": 1.0, "frames_examined": 2, "states": ["no_face"], "warnings": []}


@pytest.mark.parametrize(
    "info", ["[]", "7", "{}", DEEP.decode(), json.dumps(facts | {"states": 3}), "{", "nothing"]
)
def test_clips_with_other_facts(info, tmp_path):
    kept = {"face_found": np.ones(2, bool), "times_s": np.zeros(2), "boxes": np.zeros((2, 4))}
    np.savez(tmp_path / "a.npz", info=np.array(json.dumps(facts)), **kept)
    assert load_clip(tmp_path / "a.npz").states == (Reason.NO_FACE,)
    np.savez(tmp_path / "a.npz", info=np.array(info), **kept)
    with pytest.raises(ClipError, match="damaged since it was written"):
        load_clip(tmp_path / "a.npz")


# states


def save_states(folder: Path) -> None:
    checkpoints = Checkpoints(folder, IDENTITY)
    for epoch, rank in enumerate((0.1, 0.5, 0.2)):
        checkpoints.save(epoch, {"x": np.zeros(1)}, [rank], {"loss": 1.0}, False)


def go_on(folder: Path) -> int:
    """Take up what is there and save another epoch; the first new one."""
    checkpoints = Checkpoints(folder, IDENTITY)
    epoch = checkpoints.restore()
    checkpoints.save(epoch, {"x": np.zeros(1)}, [0.3], {"loss": 0.5}, True)
    assert Checkpoints(folder, IDENTITY).restore() == epoch + 1
    return epoch


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_manifest_with_any_value(data, tmp_path):
    save_states(tmp_path)
    kept = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(data.draw(alterations(kept))))
    try:
        assert go_on(tmp_path) in (0, 2, 3)
    except UsageError as e:
        refusal = e
    else:
        return
    assert "another run folder" in refusal.cause


@pytest.mark.parametrize(
    "changes",
    [
        {"best": None},
        {"best": "0.5"},
        {"best": {}},
        {"best": []},
        {"best": [[]]},
        {"history": []},
        {"history": "abc"},
        {"history": [{}, {}, {}]},
        {"history": [{"epoch": 0}]},
        {"history": [{"epoch": 1}, {"epoch": 2}, {"epoch": 0}]},
        {"files": []},
        {"files": {"1": {"name": None}, "2": {}}},
    ],
)
def test_manifests_that_cannot_be_gone_on_with_start_again(changes, tmp_path, capsys):
    save_states(tmp_path)
    kept = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(kept | changes))
    assert go_on(tmp_path) == 0
    assert "starts again" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["best", "done", "history", "files", "epoch", "identity"])
def test_manifests_that_lack_an_entry_start_again(key, tmp_path, capsys):
    save_states(tmp_path)
    kept = json.loads((tmp_path / "state.json").read_text())
    del kept[key]
    (tmp_path / "state.json").write_text(json.dumps(kept))
    assert go_on(tmp_path) == 0
    assert "starts again" in capsys.readouterr().err


def test_rows_of_other_figures_are_written(tmp_path):
    save_states(tmp_path)
    kept = json.loads((tmp_path / "state.json").read_text())
    kept["history"][1]["more"] = 1
    (tmp_path / "state.json").write_text(json.dumps(kept))
    assert go_on(tmp_path) == 3
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "epoch,loss,more"


def test_deep_files(tmp_path, capsys):
    (tmp_path / "state.json").write_bytes(DEEP)
    assert go_on(tmp_path) == 0
    assert "starts again" in capsys.readouterr().err
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "01-01-05-02-01-01-03.mp4").write_bytes(b"x")
    (corpus / "corpus.json").write_bytes(DEEP)
    with pytest.raises(UsageError, match="not JSON"):
        read_corpus(corpus)
