"""Write a bundle: graph, detector, description, golden values, model card; then verify it."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from keras_emo import __version__
from keras_emo.data.corpora import known_corpora
from keras_emo.errors import EnvironmentFailure, Reason, UsageError
from keras_emo.export import OPSET
from keras_emo.export.card import write_card
from keras_emo.export.onnx import OUTPUTS, add_metadata, check_proto, convert_onnx
from keras_emo.export.parity import BATCHES, check_biases, compare, sample_feed
from keras_emo.export.saved_model import open_saved_model, write_saved_model
from keras_emo.export.waveform import WAVEFORM, write_waveform
from keras_emo.features.mtcnn import NETWORKS, PACKAGE_DATA
from keras_emo.inference.batch import Run
from keras_emo.inference.bundle import (
    DESCRIPTION,
    DETECTOR,
    GOLDEN,
    MODEL,
    digest_file,
    load_bundle,
    load_golden,
)
from keras_emo.inference.manifest import SCHEMA
from keras_emo.inference.model import Model
from keras_emo.inference.session import available_cores, open_session
from keras_emo.labels import EMOTIONS
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec
from keras_emo.training.evaluate import run_keras

FORMATS = ("onnx", "saved_model", "keras")

# from the float32 graph to the one that is shipped, with what bundle.json says of it
Reduce = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, dict[str, Any]]]


def export_bundle(
    model: keras.Model,
    entry: ModelEntry,
    spec: ClipSpec,
    facts: dict[str, Any],
    folder: Path,
    formats: tuple[str, ...] = ("onnx", "saved_model"),
    reduce: Reduce | None = None,
    waveform: bool = False,
    tell: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Export a trained network and put the bundle in place once it passed every check.

    facts: corpus, split, preset, metrics and the like, as export.py collects them. reduce: makes
    model.onnx smaller once the float32 graph agreed with Keras. waveform: adds waveform.onnx.
    tell: called with the name of each step as it begins.
    The bundle is written beside its place first: a refused one leaves an older one as it was.
    Returns seconds, sizes and differences. Raises ExportError, EnvironmentFailure.
    """
    check_biases(model)
    check_place(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    try:
        facts = {**facts, "name": folder.name}
        figures = _fill(draft, model, entry, spec, facts, formats, reduce, waveform, tell)
        draft.chmod(0o755)
        put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return figures


def check_place(folder: Path) -> None:
    """Raise UsageError where something other than a bundle would be replaced."""
    if folder.exists() and not (folder / DESCRIPTION).is_file() and any_inside(folder):
        cause = f"there is something that is no bundle (no {DESCRIPTION}); name another folder"
        raise UsageError(folder, Reason.BAD_CONFIG, cause)


def any_inside(folder: Path) -> bool:
    """Whether a path is a file or a folder that is not empty."""
    return not folder.is_dir() or any(folder.iterdir())


def _fill(draft, model, entry, spec, facts, formats, reduce, waveform, tell) -> dict[str, Any]:
    description = describe(model, entry, spec, facts)
    name = facts["name"]
    tell("ONNX")
    started_s = time.monotonic()
    proto = convert_onnx(model, _metadata(description))
    run = _write_graph(proto, draft / MODEL)
    seconds = {"onnx": round(time.monotonic() - started_s, 1)}

    feeds = [sample_feed(entry, n, spec) for n in BATCHES]
    ours = run_keras(model)
    parity = {"onnx": compare(ours, run, feeds, f"{name}/{MODEL}")}
    if "saved_model" in formats:
        tell("SavedModel")
        started_s = time.monotonic()
        write_saved_model(model, draft / "saved_model")
        seconds["saved_model"] = round(time.monotonic() - started_s, 1)
        run_saved = open_saved_model(draft / "saved_model")
        parity["saved_model"] = compare(ours, run_saved, feeds, f"{name}/saved_model")
    if "keras" in formats:
        model.save(draft / "model.keras")
    if reduce is not None:
        tell("smaller numbers")
        started_s = time.monotonic()
        proto, reduced = reduce(proto)
        description |= reduced
        add_metadata(proto, {"precision": reduced["precision"]})
        ours = run = _write_graph(proto, draft / MODEL)  # it has values of its own from here
        seconds[reduced["precision"]] = round(time.monotonic() - started_s, 1)
    if waveform:
        tell(WAVEFORM)
        precision = description["precision"]
        written = write_waveform(proto, entry, spec, precision, draft / WAVEFORM, run)
        description["waveform"] = written
    del proto
    tell("last checks")
    _copy_detector(draft / DETECTOR)
    golden = sample_feed(entry, 1, spec, golden=True)
    arrays: dict[str, Any] = {f"in_{k}": v for k, v in golden.items()}
    arrays |= {f"out_{k}": v for k, v in ours(golden).items()}
    np.savez_compressed(draft / GOLDEN, **arrays)
    description |= {"parity": parity, "export_seconds": seconds}
    write_card(description, draft / "README.md")
    description["files"] = {
        str(p.relative_to(draft)): {"sha256": digest_file(p), "bytes": p.stat().st_size}
        for p in sorted(draft.rglob("*"))
        if p.is_file()
    }
    text = json.dumps(description, indent=1, ensure_ascii=False)
    (draft / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    check_golden(Model(load_bundle(draft)), draft)
    sizes = {p: description["files"][p]["bytes"] for p in (MODEL, WAVEFORM)[: 1 + waveform]}
    extra = {k: description[k] for k in ("quantization", "waveform") if k in description}
    return {"seconds": seconds, "bytes": sizes, "parity": parity, **extra}


def _write_graph(proto: onnx.ModelProto, path: Path) -> Run:
    """Check and write a graph; returns the written file as a function."""
    check_proto(proto, path)
    path.write_bytes(proto.SerializeToString())
    session = open_session(path, available_cores())
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def check_golden(predictor: Model, folder: Path) -> None:
    """The finished bundle, through the predictor that serves, gives its golden values."""
    feed, expected = load_golden(folder / GOLDEN)
    compare(lambda _: expected, predictor.run, [feed], folder.name)


def describe(
    model: keras.Model, entry: ModelEntry, spec: ClipSpec, facts: dict[str, Any]
) -> dict[str, Any]:
    """bundle.json without what only the finished files can say."""
    ranges = {
        "face": [0, 255],
        "face_mask": [0, 1],
        "mfcc": [-1200, 400],
        "mfcc_mask": [0, 1],
    }

    def shape(tensor) -> list[str | int]:
        dynamic = ["batch", "frames"]
        return [dynamic[i] if n is None else int(n) for i, n in enumerate(tensor.shape)]

    corpus = known_corpora().get(facts["corpus"]["name"])
    return {
        "schema": SCHEMA,
        "name": facts["name"],
        "model": entry.name,
        "preset": facts["preset"],
        "precision": "fp32",
        "parameters": model.count_params(),
        "labels": list(EMOTIONS),
        "modalities": list(entry.modalities),
        "frames": entry.frames,
        "inputs": [
            {"name": n, "dtype": "float32", "shape": shape(t), "range": ranges[n]}
            for n, t in model.input.items()
        ],
        "outputs": [
            {"name": n, "dtype": "float32", "shape": shape(model.output[n])} for n in OUTPUTS
        ],
        "clip_spec": spec.to_dict(),
        "detector": {"kind": "mtcnn", "folder": DETECTOR},
        "opset": OPSET,
        "versions": {
            "keras_emo": __version__,
            "python": platform.python_version(),
            **{p: version(p) for p in ("keras", "tf2onnx", "onnx", "onnxruntime", "numpy")},
        },
        "corpus": facts["corpus"],
        "metrics": facts["metrics"],
        **({"soup": facts["soup"]} if facts.get("soup") else {}),
        "license": corpus.license if corpus else "unknown",
    }


def _metadata(description: dict[str, Any]) -> dict[str, Any]:
    """What a lone model.onnx says of itself."""
    wanted = (
        "schema", "model", "labels", "modalities", "frames", "inputs", "outputs", "clip_spec",
        "corpus", "license",
    )  # fmt: skip
    return {key: description[key] for key in wanted}


def _copy_detector(folder: Path) -> None:
    folder.mkdir()
    for name in (*NETWORKS, "LICENSE"):
        shutil.copyfile(PACKAGE_DATA / name, folder / name)


def put_in_place(draft: Path, folder: Path) -> None:
    """Rename a finished draft to its place; what was there before is removed."""
    old = draft.with_name(f"{draft.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
