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
from keras_emo.export.onnx import OUTPUTS, convert_onnx, name_dimensions
from keras_emo.export.parity import (
    BATCHES,
    check_biases,
    compare,
    run_saved_model,
    sample_feed,
    write_graph,
)
from keras_emo.export.provenance import Provenance
from keras_emo.export.waveform import WAVEFORM, write_waveform
from keras_emo.features.mtcnn import NETWORKS, PACKAGE_DATA
from keras_emo.inference.bundle import DESCRIPTION, DETECTOR, GOLDEN, MODEL, load_golden
from keras_emo.inference.manifest import SCHEMA, BundleManifest, FileEntry, TensorSpec
from keras_emo.io import digest_file, draft_folder, write_json
from keras_emo.labels import EMOTIONS
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec
from keras_emo.training.evaluate import run_keras

FORMATS = ("onnx", "saved_model", "keras")
RANGES = {"face": (0, 255), "face_mask": (0, 1), "mfcc": (-1200, 400), "mfcc_mask": (0, 1)}

Reduce = Callable[[onnx.ModelProto, ModelEntry], Reduced]  # of the float32 graph


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
    seconds: dict[str, float] = {}

    @contextmanager
    def timing(step: str) -> Iterator[None]:
        on_step(step)
        started_s = time.monotonic()
        yield
        seconds[step] = round(time.monotonic() - started_s, 1)

    with replace_folder(folder, DESCRIPTION, "bundle") as draft:
        draft.mkdir()
        path = draft / MODEL
        manifest = describe(model, entry, spec, provenance, folder.name)
        feeds = [sample_feed(entry, n, spec) for n in BATCHES]
        reference = run_keras(model)
        with timing("onnx"):
            proto = convert_onnx(model, _metadata(manifest))
            run = write_graph(proto, path)
        parity = {"onnx": compare(reference, run, feeds, f"{folder.name}/{MODEL}")}
        if "saved_model" in formats:
            with timing("saved_model"):
                model.export(draft / "saved_model", "tf_saved_model", verbose=False)
                saved = run_saved_model(draft / "saved_model")
            parity["saved_model"] = compare(reference, saved, feeds, f"{folder.name}/saved_model")
        if "keras" in formats:
            model.save(draft / "model.keras")
        if reduce is not None:
            with timing("quantize"):
                reduced = reduce(proto, entry)
                proto, precision = reduced.proto, reduced.precision
                manifest = replace(manifest, precision=precision, quantization=reduced.quantization)
                proto.metadata_props.add(key="precision", value=precision)
                run = reference = write_graph(proto, path)  # golden values are of this graph
        if waveform:
            with timing(WAVEFORM):
                target = draft / WAVEFORM
                written = write_waveform(proto, entry, spec, manifest.precision, target, run)
                manifest = replace(manifest, waveform=written)
        del proto
        (draft / DETECTOR).mkdir()
        for name in (*NETWORKS, "LICENSE"):
            shutil.copyfile(PACKAGE_DATA / name, draft / DETECTOR / name)
        golden = sample_feed(entry, 1, spec, golden=True)
        arrays = {f"in_{name}": array for name, array in golden.items()}
        arrays |= {f"out_{name}": array for name, array in reference(golden).items()}
        np.savez_compressed(draft / GOLDEN, **arrays)  # type: ignore[arg-type]
        write_card(manifest, draft / "README.md")
        manifest = replace(manifest, parity=parity, export_seconds=seconds, files=list_files(draft))
        write_json(draft / DESCRIPTION, manifest.to_dict())
        feed, expected = load_golden(draft / GOLDEN)
        compare(lambda _: expected, keras_emo.load(draft).run, [feed], folder.name)
    return manifest


@contextmanager
def replace_folder(folder: Path, marker: str, what: str) -> Iterator[Path]:
    """A place beside a folder that takes its place when the block ends well.

    Raises UsageError where that would replace something without a file ``marker``,
    EnvironmentFailure.
    """
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not (folder / marker).is_file():
        cause = f"it exists and is no {what} (no {marker}); choose another folder"
        raise UsageError(folder, Reason.BAD_CONFIG, cause)
    with draft_folder(folder) as draft:
        yield draft
        old = draft.with_name(f"{draft.name}-old")  # removed with the draft's folder
        if folder.exists():
            folder.rename(old)
        try:
            draft.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def list_files(folder: Path) -> dict[str, FileEntry]:
    """sha256 and size of every file in a folder, by relative path."""
    return {
        p.relative_to(folder).as_posix(): FileEntry(digest_file(p), p.stat().st_size)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


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


def _metadata(manifest: BundleManifest) -> dict[str, Any]:
    """The metadata inside model.onnx, which describe the file without its bundle."""
    wanted = (
        "schema", "model", "labels", "modalities", "frames", "inputs", "outputs", "clip_spec",
        "corpus", "license",
    )  # fmt: skip
    described = manifest.to_dict()
    return {key: described[key] for key in wanted}
