"""export.py --layout browser: what the folder holds and what is refused; no browser is run."""

import hashlib
import json
import shutil

import pytest

pytest.importorskip("keras")

from keras_emo import load
from keras_emo.errors import EnvironmentFailure, UsageError
from keras_emo.export import browser
from keras_emo.export.browser import MANIFEST, check_scripts, find_wasm, write_browser
from keras_emo.export.layouts import check_layouts
from keras_emo.export.onnx import ExportError
from keras_emo.io import digest_file
from keras_emo.networks import MODELS

pytestmark = pytest.mark.tensorflow

ENTRY = MODELS["fusion_ensemble_tdnn"]
WASM = b"stands in for onnxruntime's wasm"


@pytest.fixture(scope="module")
def model(request):
    return load(request.config.rootpath / "saved_models" / "default", threads=1)


@pytest.fixture(scope="module")
def wasm(tmp_path_factory):
    """The file in the folder that KERAS_EMO_WASM names, for a page that was built for it."""
    root = tmp_path_factory.mktemp("wasm")
    page = shutil.copytree(browser.PAGE, root / "built")
    runtime = json.loads((page / browser.RUNTIME).read_text())
    runtime |= {"sha256": hashlib.sha256(WASM).hexdigest(), "bytes": len(WASM)}
    (page / browser.RUNTIME).write_text(json.dumps(runtime))
    (root / "dist").mkdir()
    file = root / "dist" / runtime["file"]
    file.write_bytes(WASM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browser, "PAGE", page)
        patch.setenv(browser.WASM_FOLDER, str(root / "dist"))
        yield file


@pytest.fixture(scope="module")
def written(wasm, model, tmp_path_factory):
    return write_browser(tmp_path_factory.mktemp("page") / "browser" / "default", ENTRY, model)


@pytest.fixture
def page(written, tmp_path):
    """A page of one's own."""
    return shutil.copytree(written, tmp_path / "page")


def test_the_folder_is_complete(written, wasm):
    files = json.loads((written / MANIFEST).read_text())["files"]
    found = {p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()}
    assert set(files) == found - {MANIFEST}
    assert {wasm.name, "bundle.json", "waveform.onnx", "detector/pnet.onnx"} <= set(files)
    assert files["waveform.onnx"]["sha256"] == digest_file(written / "waveform.onnx")
    html = (written / "index.html").read_text()
    assert "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'" in html
    assert not any(word in html for word in ("http:", "https:", "unsafe-inline"))
    assert [p.name for p in written.parent.iterdir()] == ["default"], "a draft was left"


def test_an_older_page_is_replaced_and_anything_else_stays(page, model, tmp_path):
    (page / "old.txt").write_text("of the export before")
    write_browser(page, ENTRY, model)
    assert not (page / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("a year of it")
    with pytest.raises(UsageError, match="no page"):
        write_browser(tmp_path / "mine", ENTRY, model)
    assert (tmp_path / "mine" / "work.txt").exists()


def test_a_missing_or_other_wasm_is_refused(wasm, tmp_path, monkeypatch):
    monkeypatch.setenv(browser.WASM_FOLDER, str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="run npm ci in web/"):
        check_layouts(["browser"], None, tmp_path / "bundle")
    (tmp_path / wasm.name).write_bytes(b"of another version")
    with pytest.raises(EnvironmentFailure, match="needs the one of onnxruntime-web"):
        find_wasm()


@pytest.mark.parametrize("file", ["assets/index-*.js", "assets/worker-*.js"])
def test_a_page_that_lacks_a_script_is_refused(page, file):
    next(page.glob(file)).unlink()
    with pytest.raises(ExportError, match="which is missing"):
        check_scripts(page)
