"""Folders for model servers, checked without the servers: what each will find and load."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import tensorflow as tf  # noqa: E402

import keras_emo  # noqa: E402
from keras_emo.cli import build_parser  # noqa: E402
from keras_emo.errors import EnvironmentFailure, UsageError  # noqa: E402
from keras_emo.export import layouts  # noqa: E402
from keras_emo.export.bundle import export_bundle  # noqa: E402
from keras_emo.export.layouts import (  # noqa: E402
    TF_SERVING,
    TRITON,
    check_layouts,
    put_version,
    write_layout,
)
from keras_emo.export.onnx import ExportError  # noqa: E402
from keras_emo.export.parity import sample_feed  # noqa: E402
from keras_emo.io import draft_folder  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402
from keras_emo.training.evaluate import run_keras  # noqa: E402

from .small_networks import PROVENANCE, build_tiny  # noqa: E402
from .small_networks import SHORT_SPEC as SPEC  # noqa: E402

pytestmark = pytest.mark.tensorflow

FUSION = MODELS["fusion_joint"]


@pytest.fixture(scope="module")
def fusion(tmp_path_factory):
    """(model, bundle folder) of a network with free batch and frames."""
    model, folder = build_tiny(FUSION.name, 0, SPEC), tmp_path_factory.mktemp("fusion") / "net"
    export_bundle(model, FUSION, SPEC, PROVENANCE, folder, ("onnx",))
    return model, folder


def test_tensorflow_serving(fusion):
    model, folder = fusion
    version = write_layout(TF_SERVING, model, FUSION, folder)
    assert version == folder.parent / "tfserving" / "net" / "1"
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    taken = signature.structured_input_signature[1]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in taken.items()} == {
        "face": (tf.float32, [None, None, 64, 64, 3]),
        "face_mask": (tf.float32, [None, None]),
        "mfcc": (tf.float32, [None, *SPEC.audio.shape]),
        "mfcc_mask": (tf.float32, [None, 1]),
    }
    bundled = keras_emo.load(folder, threads=1)
    for n in (1, 3):
        feed = sample_feed(FUSION, n, SPEC, seed=99)  # not what the export compared
        found = signature(**{k: tf.constant(v) for k, v in feed.items()})
        expected = bundled.run(feed)
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key].numpy(), value, atol=1e-4)
    described = (version / "assets.extra" / "bundle.json").read_bytes()
    assert described == (folder / "bundle.json").read_bytes()


def test_triton(fusion):
    """A model repository: Triton reads everything but the batching from model.onnx."""
    model, folder = fusion
    root = folder.parent / "triton" / "net"
    assert write_layout(TRITON, model, FUSION, folder) == root / "1"
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert files == ["1/bundle.json", "1/model.onnx", "config.pbtxt"]
    assert (root / "1" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    config = (root / "config.pbtxt").read_text()
    assert config.splitlines() == [
        'platform: "onnxruntime_onnx"',
        "max_batch_size: 16",
        "dynamic_batching { max_queue_delay_microseconds: 2000 }",
    ]
    # batching needs a free first axis of everything the graph takes and returns
    described = json.loads((root / "1" / "bundle.json").read_text())
    assert {t["shape"][0] for t in described["inputs"] + described["outputs"]} == {"batch"}


def test_versions_are_added_and_never_overwritten(fusion, tmp_path):
    model, folder = fusion[0], shutil.copytree(fusion[1], tmp_path / "net")
    root = folder.parent / TRITON / "net"
    write_layout(TRITON, model, FUSION, folder)
    (root / "config.pbtxt").write_text("max_batch_size: 64\n")  # edited by hand: it stays
    (root / "7").mkdir()
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert write_layout(TRITON, model, FUSION, folder) == root / "8"
    assert {p: p.read_bytes() for p in before} == before
    made = {p.relative_to(root / "8") for p in (root / "8").rglob("*")}
    assert made == {p.relative_to(root / "1") for p in (root / "1").rglob("*")}
    assert [p.name for p in root.parent.iterdir()] == ["net"]  # no drafts
    assert root.stat().st_mode & 0o055 == 0o055  # a server runs as another user


def test_two_exports_at_once_take_two_numbers(tmp_path):
    folder = tmp_path / "layout" / "net"
    with draft_folder(folder) as one, draft_folder(folder) as two:
        for draft, name in ((one, "a"), (two, "b")):
            (draft / "1").mkdir(parents=True)
            (draft / "1" / name).touch()
        assert [put_version(d, folder) for d in (one, two)] == [folder / "1", folder / "2"]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("?")) == ["1", "1/a", "2", "2/b"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="write_failed"), draft_folder(tmp_path / "file/x"):
        pass


def test_another_network_than_the_bundle_is_refused(fusion, tmp_path, monkeypatch):
    folder = shutil.copytree(fusion[1], tmp_path / "net")
    other = build_tiny(FUSION.name, 1, SPEC)
    monkeypatch.setattr(layouts, "run_saved_model", lambda _: run_keras(other))
    unwritten = SimpleNamespace(export=lambda *_, **__: None)  # writing it takes 20 s
    with pytest.raises(ExportError, match="differ"):
        write_layout(TF_SERVING, unwritten, FUSION, folder)
    assert list((tmp_path / "tfserving").iterdir()) == []


def test_options(tmp_path):
    given = build_parser("export").parse_args(
        ["export", "--run", "r", "--model", "m", "--out", "o", "--layout", "triton, tfserving",
         "--layout", "triton"]
    )  # fmt: skip
    assert given.layout == ["triton", "tfserving", "triton"]
    out = tmp_path / "net"
    check_layouts(("triton", "tfserving"), None, out)
    check_layouts(("triton",), "int8", out)
    check_layouts((), "int8", tmp_path / "triton")
    for asked, quantize, where, cause in (
        (("triton", "torchserve"), None, out, "unknown torchserve"),
        (("tfserving",), "fp16", out, "a SavedModel is float32, not fp16"),
        (("triton",), None, tmp_path / "triton", "its own name"),
    ):
        with pytest.raises(UsageError, match=cause):
            check_layouts(asked, quantize, where)
