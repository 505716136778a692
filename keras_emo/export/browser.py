"""A static page that predicts clips in the browser alone: <parent>/browser/<name>/."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.export.bundle import check_place, list_files, put_in_place
from keras_emo.export.onnx import ExportError
from keras_emo.export.parity import run_onnx, sample_feed, sample_sounds
from keras_emo.export.waveform import PROBS_TOLERANCE, WAVEFORM, write_waveform
from keras_emo.features.mfcc import compute_mfcc
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.inference.bundle import DESCRIPTION, DETECTOR, MODEL
from keras_emo.inference.model import Model
from keras_emo.io import digest_file, draft_folder, write_json
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
    advice = f"run npm ci in web/, or name a folder that holds it in {WASM_FOLDER}"
    if not path.is_file():
        cause = f"the page needs it, of onnxruntime-web {known['version']}: {advice}"
        raise EnvironmentFailure(path, Reason.NOT_FOUND, cause)
    if digest_file(path) != known["sha256"]:
        cause = f"not the one of onnxruntime-web {known['version']}: {advice}"
        raise EnvironmentFailure(path, Reason.MISSING_PACKAGE, cause)
    return path


def write_browser(folder: Path, entry: ModelEntry, model: Model) -> Path:
    """Write the page of a bundle and put it in place of ``folder`` once it passed every check.

    An older page is replaced. Returns folder. Raises ExportError where files are missing or
    predictions differ from the bundle's, UsageError where something else is in its place,
    EnvironmentFailure.
    """
    wasm = find_wasm()
    check_place(folder, MANIFEST, "page")
    with draft_folder(folder) as draft:
        shutil.copytree(PAGE, draft)
        shutil.copyfile(wasm, draft / wasm.name)
        _copy_bundle(draft, entry, model)
        page = {
            "schema": 1,
            "name": model.bundle.manifest.name,
            "files": write_value(list_files(draft)),
        }
        write_json(draft / MANIFEST, page)
        check_files(draft)
        check_graphs(draft, entry, model)
        put_in_place(draft, folder)
    return folder


def _copy_bundle(draft: Path, entry: ModelEntry, model: Model) -> None:
    """bundle.json, the detector, and the network with its sound features inside."""
    bundle = model.bundle
    shutil.copyfile(bundle.folder / DESCRIPTION, draft / DESCRIPTION)
    shutil.copytree(bundle.detector_folder, draft / DETECTOR)
    if (bundle.folder / WAVEFORM).is_file():
        shutil.copyfile(bundle.folder / WAVEFORM, draft / WAVEFORM)
    elif "mfcc" in bundle.inputs:
        proto = onnx.load(str(bundle.model_path))
        precision = bundle.manifest.precision
        write_waveform(proto, entry, bundle.spec, precision, draft / WAVEFORM, model.run)
    else:
        shutil.copyfile(bundle.model_path, draft / MODEL)


def check_files(folder: Path) -> None:
    """Every file of the manifest is there as written, and every file the page names is in it.

    Raises ExportError.
    """
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    for name, known in files.items():
        path = folder / name
        if not path.is_file() or digest_file(path) != known["sha256"]:
            raise ExportError(path, Reason.EXPORT_FAILED, f"not as {MANIFEST} has it")
    named = {"index.html"}
    for script in (n for n in files if n.endswith((".html", ".js"))):
        named |= set(_ASSET.findall((folder / script).read_text(encoding="utf-8")))
    lacking = sorted(n for n in named if n not in files and f"assets/{n}" not in files)
    if lacking:
        cause = f"the page names {', '.join(lacking)}, which is missing"
        raise ExportError(folder, Reason.EXPORT_FAILED, cause)


def check_graphs(folder: Path, entry: ModelEntry, model: Model) -> None:
    """The page's graphs load and predict as the bundle does, also without face or sound.

    Raises ExportError, BundleError where one does not load.
    """
    spec, bundle = model.bundle.spec, model.bundle
    FaceDetector(folder / DETECTOR, spec.face).warm_up()
    sounds = sample_sounds(spec.audio)
    feed = sample_feed(entry, len(sounds), spec)  # the last two lack a face, and sound
    path, given = folder / MODEL, feed
    if "mfcc" in bundle.inputs:
        path = folder / WAVEFORM
        silent = feed.get("mfcc_mask", np.ones((len(sounds), 1)))[:, 0] == 0
        sounds[silent] = 0.0
        mfcc = np.stack([compute_mfcc(sound, spec.audio) for sound in sounds])
        mfcc[silent] = 0.0  # as collate_clips does for a clip without sound
        feed = {**feed, "mfcc": mfcc}
        given = {n: a for n, a in feed.items() if n != "mfcc"} | {"waveform": sounds}
    expected = model.run(feed)["probs"]
    worst = float(np.abs(run_onnx(path)(given)["probs"] - expected).max())
    limit = PROBS_TOLERANCE[bundle.manifest.precision]
    if not worst <= limit:  # NaN is refused too
        cause = f"probs differ from the bundle's by {worst:.2e}, at most {limit:.0e}"
        raise ExportError(path, Reason.EXPORT_FAILED, cause)
