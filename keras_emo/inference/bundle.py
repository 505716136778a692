"""The folder that deployment loads: its layout, its description and its verification."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from keras_emo.errors import BundleError, Reason, translate_errors
from keras_emo.features.mtcnn import NETWORKS
from keras_emo.inference.batch import Batch
from keras_emo.inference.manifest import BundleManifest, FileEntry
from keras_emo.io import digest_file, read_arrays
from keras_emo.spec import ClipSpec

DESCRIPTION = "bundle.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
DETECTOR = "detector"
# onnx.TensorProto.external_data: an entry with the key "location", as protobuf writes it
_EXTERNAL = b"\x0a\x08location\x12"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle folder."""

    folder: Path
    manifest: BundleManifest

    @property
    def spec(self) -> ClipSpec:
        return self.manifest.clip_spec

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL

    @property
    def detector_folder(self) -> Path:
        return self.folder / DETECTOR

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names the network takes."""
        return tuple(tensor.name for tensor in self.manifest.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.manifest.outputs)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.manifest.modalities


def find_default_bundle() -> Path:
    """The folder that KERAS_EMO_BUNDLE names, or else that of the pretrained model."""
    if named := os.environ.get("KERAS_EMO_BUNDLE"):
        return Path(named)
    installed = Path(__file__).parents[1] / "pretrained"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "saved_models/default"


def load_bundle(folder: str | os.PathLike[str] | None = None) -> Bundle:
    """Read and verify a bundle: its manifest, and the sha256 of every file that names.

    folder: by default find_default_bundle(). Raises BundleError naming the file and what is wrong
    with it.
    """
    folder = find_default_bundle() if folder is None else Path(folder)
    manifest = _read_manifest(folder)
    for name in (MODEL, *(f"{DETECTOR}/{n}" for n in NETWORKS)):
        if name not in manifest.files:
            raise _refuse(folder / DESCRIPTION, f"{name} is not among its files")
    for name, entry in manifest.files.items():
        with translate_errors(BundleError, folder / name, Reason.BAD_BUNDLE):
            _verify_file(folder, name, entry)
    return Bundle(folder, manifest)


def load_golden(path: Path) -> tuple[Batch, Batch]:
    """Inputs and expected outputs by name, at least one of each. Raises BundleError."""
    what = "no golden values can be read from it: {}"
    with translate_errors(BundleError, path, Reason.BAD_BUNDLE, OSError, ValueError, cause=what):
        arrays = read_arrays(path)
    feed = {k[3:]: a for k, a in arrays.items() if k.startswith("in_")}
    expected = {k[4:]: a for k, a in arrays.items() if k.startswith("out_")}
    if not feed or not expected:
        raise _refuse(path, "it lacks golden inputs or outputs")
    return feed, expected


def _read_manifest(folder: Path) -> BundleManifest:
    path = folder / DESCRIPTION
    if not folder.is_dir():
        cause = "no such bundle folder; name one with --bundle or KERAS_EMO_BUNDLE"
        raise BundleError(folder, Reason.NO_BUNDLE, cause)
    if not path.is_file():
        raise BundleError(folder, Reason.NO_BUNDLE, f"the folder holds no {DESCRIPTION}")
    unreadable = OSError, ValueError, RecursionError
    with translate_errors(BundleError, path, Reason.BAD_BUNDLE, *unreadable):
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        return BundleManifest.from_dict(data)


def _verify_file(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    if os.path.isabs(name) or not path.is_file() or path.resolve() != folder.resolve() / name:
        raise _refuse(path, "named in bundle.json, but not a file here")
    found = digest_file(path)
    if found != entry.sha256:
        raise _refuse(path, f"sha256 {found[:16]}..., expected {entry.sha256[:16]}...")
    if path.suffix == ".onnx" and _EXTERNAL in path.read_bytes():
        raise _refuse(path, "it keeps weights in another file, which no digest covers")


def _refuse(path: Path, cause: str) -> BundleError:
    return BundleError(path, Reason.BAD_BUNDLE, cause)
