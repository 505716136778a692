"""Folders beside the bundle: <layout>/<name>/<version>/ for servers, browser/<name>/ for people."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_emo.errors import Reason, UsageError
from keras_emo.export.browser import find_wasm, write_browser
from keras_emo.export.parity import BATCHES, compare, run_saved_model, sample_feed
from keras_emo.inference.bundle import DESCRIPTION, MODEL, load_bundle
from keras_emo.inference.model import Model
from keras_emo.io import draft_folder
from keras_emo.networks.catalog import ModelEntry

TF_SERVING, TRITON, BROWSER = "tfserving", "triton", "browser"
LAYOUTS = (TF_SERVING, TRITON, BROWSER)
FIRST = "1"  # version folder within a draft
EXTRA = "assets.extra"  # files that TensorFlow Serving leaves alone
# Triton takes the name from the folder, inputs and outputs from the ONNX model; left to itself it
# would batch 4 clips at most.
TRITON_CONFIG = """platform: "onnxruntime_onnx"
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""


def check_layouts(layouts: Sequence[str], quantize: str | None, out: Path) -> None:
    """Check that layouts are known, hold the requested precision and do not collide with ``out``.

    Raises UsageError, and EnvironmentFailure where a file that a layout needs is not installed.
    """
    unknown = [name for name in layouts if name not in LAYOUTS]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join(LAYOUTS)}"
        raise UsageError("--layout", Reason.BAD_CONFIG, cause)
    if quantize is not None and TF_SERVING in layouts:
        cause = f"a SavedModel is float32, not {quantize}; export it separately"
        raise UsageError("--layout", Reason.BAD_CONFIG, cause)
    if layouts and out.name in ("", "..", *LAYOUTS):
        cause = "the folder of a layout would be in the same place; give the bundle its own name"
        raise UsageError(out, Reason.BAD_CONFIG, cause)
    if BROWSER in layouts:
        find_wasm()


def write_layout(layout: str, model: keras.Model, entry: ModelEntry, folder: Path) -> Path:
    """Add a version of the bundle in ``folder`` to folder.parent/layout/folder.name.

    The browser page has no versions: an older page is replaced. Returns the version's folder.
    Raises ExportError where its predictions differ from the bundle's, EnvironmentFailure.
    """
    bundled, place = Model(load_bundle(folder)), folder.parent / layout / folder.name
    if layout == BROWSER:
        return write_browser(place, entry, bundled)
    with draft_folder(place) as draft:
        version = draft / FIRST
        version.mkdir(parents=True)
        if layout == TRITON:
            (draft / "config.pbtxt").write_text(TRITON_CONFIG)
            for file in (MODEL, DESCRIPTION):
                shutil.copyfile(folder / file, version / file)
        else:
            model.export(version, "tf_saved_model", verbose=False)
            (version / EXTRA).mkdir()
            shutil.copyfile(folder / DESCRIPTION, version / EXTRA / DESCRIPTION)
            feeds = [sample_feed(entry, n, bundled.bundle.spec) for n in BATCHES]
            run = run_saved_model(version)
            compare(run, bundled.run, feeds, f"{folder.name}/{layout}")
        return put_version(draft, place)


def put_version(draft: Path, folder: Path) -> Path:
    """Put the first version in a draft of a model folder in place; returns where it is.

    Files beside the version are used only where the model folder is new. Existing versions are
    never overwritten: the version gets the next free number, also when another export runs at
    the same time.
    """
    while True:
        try:
            # a rename onto a folder that is not empty fails
            if not folder.exists():
                draft.rename(folder)
                return folder / FIRST
            names = [p.name for p in folder.iterdir()]
            numbers = [int(n) for n in names if n.isascii() and n.isdecimal()]
            return (draft / FIRST).rename(folder / str(max(numbers, default=0) + 1))
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
