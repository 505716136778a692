"""export.py --layout browser: what the folder holds and what is refused; no browser is run."""

import hashlib
import json
import shutil

import pytest

pytest.importorskip("keras")

from keras_emo import load
from keras_emo.errors import EnvironmentFailure, UsageError
from keras_emo.export import browser
from keras_emo.export.browser import (
    MANIFEST,
    check_files,
    check_graphs,
    find_wasm,
    write_browser,
)
from keras_emo.export.layouts import check_layouts
from keras_emo.export.onnx import ExportError
from keras_emo.io import digest_file
from keras_emo.networks import MODELS

pytestmark = pytest.mark.tensorflow

WASM = b"stands in for onnxruntime's wasm"


@pytest.fixture
def wasm(tmp_path, monkeypatch):
    """A folder that KERAS_EMO_WASM names, with the wasm that the page asks for."""
    page = shutil.copytree(browser.PAGE, tmp_path / "built")
    runtime = json.loads((page / browser.RUNTIME).read_text())
    runtime |= {"sha256": hashlib.sha256(WASM).hexdigest(), "bytes": len(WASM)}
    (page / browser.RUNTIME).write_text(json.dumps(runtime))
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / runtime["file"]).write_bytes(WASM)
    monkeypatch.setattr(browser, "PAGE", page)
    monkeypatch.setenv(browser.WASM_FOLDER, str(folder))
    return folder / runtime["file"]


@pytest.fixture(scope="module")
def predictor(request):
    return load(request.config.rootpath / "saved_models" / "default", threads=1)


@pytest.fixture
def page(wasm, predictor, tmp_path):
    return write_browser(tmp_path / "browser" / "default", MODELS["fusion_joint"], predictor)


def test_the_folder_is_complete(page, wasm, predictor):
    files = json.loads((page / MANIFEST).read_text())["files"]
    assert set(files) == {
        p.relative_to(page).as_posix() for p in page.rglob("*") if p.is_file()
    } - {MANIFEST}
    assert {wasm.name, "bundle.json", "waveform.onnx", "detector/pnet.onnx"} <= set(files)
    assert files["waveform.onnx"]["sha256"] == digest_file(page / "waveform.onnx")
    html = (page / "index.html").read_text()
    assert "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'" in html
    assert not any(word in html for word in ("http:", "https:", "unsafe-inline"))
    assert [p.name for p in page.parent.iterdir()] == ["default"], "a draft was left"


def test_an_older_page_is_replaced(page, wasm, predictor):
    (page / "old.txt").write_text("of the export before")
    write_browser(page, MODELS["fusion_joint"], predictor)
    assert not (page / "old.txt").exists()


def test_something_else_in_its_place_stays(wasm, predictor, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("a year of it")
    with pytest.raises(UsageError, match="no page"):
        write_browser(tmp_path / "mine", MODELS["fusion_joint"], predictor)
    assert (tmp_path / "mine" / "work.txt").exists()


def test_without_the_wasm_it_says_what_to_run(wasm, tmp_path):
    wasm.unlink()
    with pytest.raises(EnvironmentFailure, match="run npm ci in web/"):
        check_layouts(["browser"], None, tmp_path / "bundle")
    wasm.write_bytes(b"of another version")
    with pytest.raises(EnvironmentFailure, match="not the one of onnxruntime-web"):
        find_wasm()


@pytest.mark.parametrize("kind", ["script", "worker", "network", "detector"])
def test_a_page_that_lacks_a_file_is_refused(page, kind):
    names = {
        "script": "assets/index-*.js",
        "worker": "assets/worker-*.js",
        "network": "waveform.onnx",
        "detector": "detector/onet.onnx",
    }
    next(page.glob(names[kind])).unlink()
    with pytest.raises(ExportError):
        check_files(page)
    manifest = json.loads((page / MANIFEST).read_text())
    files = manifest["files"]
    manifest["files"] = {n: f for n, f in files.items() if (page / n).is_file()}
    (page / MANIFEST).write_text(json.dumps(manifest))
    if kind in ("script", "worker"):
        with pytest.raises(ExportError, match="which is missing"):
            check_files(page)


def test_a_graph_that_answers_otherwise_is_refused(page, predictor):
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(page / "waveform.onnx"))
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            halves = numpy_helper.to_array(tensor) // 2
            tensor.CopyFrom(numpy_helper.from_array(halves, tensor.name))
    onnx.save(graph, str(page / "waveform.onnx"))
    with pytest.raises(ExportError, match="differ from the bundle's"):
        check_graphs(page, MODELS["fusion_joint"], predictor)
