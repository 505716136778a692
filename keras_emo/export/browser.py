"""A static page that predicts clips in the browser alone: <parent>/browser/<name>/."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import onnx

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.export.bundle import list_files, replace_folder
from keras_emo.export.onnx import ExportError
from keras_emo.export.waveform import WAVEFORM, write_waveform
from keras_emo.inference.bundle import DESCRIPTION, DETECTOR, MODEL
from keras_emo.inference.model import Model
from keras_emo.io import digest_file, write_json
from keras_emo.networks.catalog import ModelEntry
from keras_emo.records import write_value

PAGE = Path(__file__).resolve().parent / "page"  # built from web/ by `make web`
RUNTIME, MANIFEST = "runtime.json", "manifest.json"
WASM_FOLDER = "KERAS_EMO_WASM"  # environment variable: folder with onnxruntime-web's wasm
_INSTALLED = PAGE.parents[2] / "web" / "node_modules" / "onnxruntime-web" / "dist"
# a file with a digest in its name, as the build calls scripts and styles
_ASSET = re.compile(r"[\w./]*?([\w.]+-[\w-]{8}\.(?:js|css))\b")


def find_wasm() -> Path:
    """onnxruntime's wasm of the exact build that the page needs.

    In the folder that KERAS_EMO_WASM names, else where npm puts it. Raises EnvironmentFailure.
    """
    known = json.loads((PAGE / RUNTIME).read_text(encoding="utf-8"))
    named = os.environ.get(WASM_FOLDER)
    path = Path(named or _INSTALLED) / known["file"]
    if not path.is_file() or digest_file(path) != known["sha256"]:
        cause = (
            f"the page needs the one of onnxruntime-web {known['version']}: run npm ci in web/, "
            f"or name a folder that holds it in {WASM_FOLDER}"
        )
        raise EnvironmentFailure(path, Reason.MISSING_PACKAGE, cause)
    return path


def write_browser(folder: Path, entry: ModelEntry, model: Model) -> Path:
    """Write the page of a bundle and put it in place of ``folder`` once it passed every check.

    An older page is replaced. Returns folder. Raises ExportError where files are missing or the
    network with sound features predicts something else than the bundle's, UsageError where
    something else is in its place, EnvironmentFailure.
    """
    wasm, bundle = find_wasm(), model.bundle
    with replace_folder(folder, MANIFEST, "page") as draft:
        shutil.copytree(PAGE, draft)
        shutil.copyfile(wasm, draft / wasm.name)
        check_scripts(draft)
        shutil.copyfile(bundle.folder / DESCRIPTION, draft / DESCRIPTION)
        shutil.copytree(bundle.detector_folder, draft / DETECTOR)
        if "mfcc" in bundle.inputs:
            proto, precision = onnx.load(str(bundle.model_path)), bundle.manifest.precision
            write_waveform(proto, entry, bundle.spec, precision, draft / WAVEFORM, model.run)
        else:
            shutil.copyfile(bundle.model_path, draft / MODEL)
        files = write_value(list_files(draft))
        page = {"schema": 1, "name": bundle.manifest.name, "files": files}
        write_json(draft / MANIFEST, page)
    return folder


def check_scripts(folder: Path) -> None:
    """Raise ExportError where a file that the page names is missing."""
    named = {"index.html"}
    for script in (p for p in folder.rglob("*") if p.suffix in (".html", ".js")):
        named |= set(_ASSET.findall(script.read_text(encoding="utf-8")))
    found = {p.name for p in folder.rglob("*")}
    if named - found:
        cause = f"the page names {', '.join(sorted(named - found))}, which is missing"
        raise ExportError(folder, Reason.EXPORT_FAILED, cause)
