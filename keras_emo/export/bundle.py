"""Write a bundle: graph, detector, bundle.json, golden values, model card; then verify it."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

import keras_emo
from keras_emo.data.corpora import known_corpora
from keras_emo.errors import Reason, UsageError
from keras_emo.export import OPSET
from keras_emo.export.accuracy import Reduced
from keras_emo.export.card import write_card
from keras_emo.export.onnx import OUTPUTS, add_metadata, check_proto, convert_onnx, name_dimensions
from keras_emo.export.parity import BATCHES, check_biases, compare, run_onnx, sample_feed
from keras_emo.export.provenance import Provenance
from keras_emo.export.saved_model import open_saved_model, write_saved_model
from keras_emo.export.waveform import WAVEFORM, write_waveform
from keras_emo.features.mtcnn import NETWORKS, PACKAGE_DATA
from keras_emo.inference.batch import Batch, Run
from keras_emo.inference.bundle import DESCRIPTION, DETECTOR, GOLDEN, MODEL, load_golden
from keras_emo.inference.manifest import SCHEMA, BundleManifest, FileEntry, TensorSpec
from keras_emo.inference.model import Model
from keras_emo.io import digest_file, draft_folder, write_json
from keras_emo.labels import EMOTIONS
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec
from keras_emo.training.evaluate import run_keras

FORMATS = ("onnx", "saved_model", "keras")
RANGES = {"face": (0, 255), "face_mask": (0, 1), "mfcc": (-1200, 400), "mfcc_mask": (0, 1)}

Reduce = Callable[[onnx.ModelProto], Reduced]  # of the float32 graph


def export_bundle(
    model: keras.Model,
    entry: ModelEntry,
    spec: ClipSpec,
    provenance: Provenance,
    folder: Path,
    formats: tuple[str, ...] = ("onnx", "saved_model"),
    reduce: Reduce | None = None,
    waveform: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> BundleManifest:
    """Export a trained network and put the bundle in place once it has passed every check.

    reduce: makes model.onnx smaller after the float32 graph was compared with Keras. waveform:
    adds waveform.onnx. on_step: called with the name of each step as it begins. The bundle is
    written beside its place first: where it is refused, an older one stays. Raises ExportError,
    UsageError where something else is in the place, EnvironmentFailure.
    """
    check_biases(model)
    check_place(folder, DESCRIPTION, "bundle")
    seconds: dict[str, float] = {}

    @contextmanager
    def timing(step: str) -> Iterator[None]:
        on_step(step)
        started_s = time.monotonic()
        yield
        seconds[step] = round(time.monotonic() - started_s, 1)

    with draft_folder(folder) as draft:
        draft.mkdir()
        path = draft / MODEL
        manifest = describe(model, entry, spec, provenance, folder.name)
        feeds = [sample_feed(entry, n, spec) for n in BATCHES]
        reference = run_keras(model)
        with timing("onnx"):
            proto = convert_onnx(model, _metadata(manifest))
            run = _write_graph(proto, path)
        parity = {"onnx": compare(reference, run, feeds, f"{folder.name}/{MODEL}")}
        if "saved_model" in formats:
            with timing("saved_model"):
                write_saved_model(model, draft / "saved_model")
                saved = open_saved_model(draft / "saved_model")
            parity["saved_model"] = compare(reference, saved, feeds, f"{folder.name}/saved_model")
        if "keras" in formats:
            model.save(draft / "model.keras")
        if reduce is not None:
            with timing("quantize"):
                reduced = reduce(proto)
                proto, precision = reduced.proto, reduced.precision
                manifest = replace(manifest, precision=precision, quantization=reduced.quantization)
                add_metadata(proto, {"precision": precision})
                run = reference = _write_graph(proto, path)  # golden values are of this graph
        if waveform:
            with timing(WAVEFORM):
                target = draft / WAVEFORM
                written = write_waveform(proto, entry, spec, manifest.precision, target, run)
                manifest = replace(manifest, waveform=written)
        del proto
        _copy_detector(draft / DETECTOR)
        golden = sample_feed(entry, 1, spec, golden=True)
        _write_golden(draft / GOLDEN, golden, reference(golden))
        write_card(manifest, draft / "README.md")
        manifest = replace(manifest, parity=parity, export_seconds=seconds, files=list_files(draft))
        write_json(draft / DESCRIPTION, manifest.to_dict())
        check_golden(keras_emo.load(draft), draft)
        put_in_place(draft, folder)
    return manifest


def check_place(folder: Path, marker: str, what: str) -> None:
    """Raise UsageError where something would be replaced that holds no file ``marker``."""
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not (folder / marker).is_file():
        cause = f"it exists and is no {what} (no {marker}); choose another folder"
        raise UsageError(folder, Reason.BAD_CONFIG, cause)


def list_files(folder: Path) -> dict[str, FileEntry]:
    """sha256 and size of every file in a folder, by relative path."""
    return {
        p.relative_to(folder).as_posix(): FileEntry(digest_file(p), p.stat().st_size)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def check_golden(model: Model, folder: Path) -> None:
    """Compare the finished bundle with its golden values. Raises ExportError."""
    feed, expected = load_golden(folder / GOLDEN)
    compare(lambda _: expected, model.run, [feed], folder.name)


def describe(
    model: keras.Model, entry: ModelEntry, spec: ClipSpec, provenance: Provenance, name: str
) -> BundleManifest:
    """The manifest of a float32 bundle, before its files are written."""

    def tensor(name: str, value: Any) -> TensorSpec:
        return TensorSpec(name, "float32", tuple(name_dimensions(value)), RANGES.get(name))

    corpus = known_corpora().get(provenance.corpus.name)
    packages = ("keras", "tf2onnx", "onnx", "onnxruntime", "numpy")
    return BundleManifest(
        schema=SCHEMA,
        name=name,
        model=entry.name,
        preset=provenance.preset,
        parameters=model.count_params(),
        labels=EMOTIONS,
        modalities=entry.modalities,
        frames=entry.frames,
        inputs=tuple(tensor(name, value) for name, value in model.input.items()),
        outputs=tuple(tensor(name, model.output[name]) for name in OUTPUTS),
        clip_spec=spec,
        detector={"kind": "mtcnn", "folder": DETECTOR},
        opset=OPSET,
        versions={
            "keras_emo": keras_emo.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        corpus=provenance.corpus,
        metrics=provenance.metrics,
        averaged=provenance.averaged,
        license=corpus.license if corpus else "unknown",
        parity={},
        files={},
    )


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


def _metadata(manifest: BundleManifest) -> dict[str, Any]:
    """The metadata inside model.onnx, which describe the file without its bundle."""
    wanted = (
        "schema", "model", "labels", "modalities", "frames", "inputs", "outputs", "clip_spec",
        "corpus", "license",
    )  # fmt: skip
    described = manifest.to_dict()
    return {key: described[key] for key in wanted}


def _write_graph(proto: onnx.ModelProto, path: Path) -> Run:
    """Check and write a graph; returns the written file as a function."""
    check_proto(proto, path)
    path.write_bytes(proto.SerializeToString())
    return run_onnx(path)


def _write_golden(path: Path, feed: Batch, outputs: Batch) -> None:
    """Inputs under in_NAME and outputs under out_NAME, as load_golden reads them."""
    arrays = {f"in_{name}": array for name, array in feed.items()}
    arrays |= {f"out_{name}": array for name, array in outputs.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _copy_detector(folder: Path) -> None:
    folder.mkdir()
    for name in (*NETWORKS, "LICENSE"):
        shutil.copyfile(PACKAGE_DATA / name, folder / name)
