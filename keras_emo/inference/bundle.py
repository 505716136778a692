"""The folder that deployment loads: its layout, its description and its verification."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_emo.errors import BundleError, Reason
from keras_emo.features.mtcnn import NETWORKS
from keras_emo.inference.batch import FRAMES, Batch
from keras_emo.inference.results import MODALITIES
from keras_emo.io import digest_file, read_arrays
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec

SCHEMA = 1
DESCRIPTION = "bundle.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
DETECTOR = "detector"
# What prepared clips can be fed to, and what answers are made from, see core.inputs.
INPUTS = ("face", "face_mask", "mfcc", "mfcc_mask")
LOGITS = "logits"
# onnx.TensorProto.external_data: an entry with the key "location", as protobuf writes it
_EXTERNAL = b"\x0a\x08location\x12"
REQUIRED = (
    "schema", "name", "model", "labels", "modalities", "frames", "inputs", "outputs",
    "clip_spec", "detector", "opset", "versions", "corpus", "metrics", "parity", "files",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A verified bundle folder.

    inputs: names the network takes. frames: how face crops reach it, see core.inputs.
    info: the whole of bundle.json.
    """

    folder: Path
    info: dict[str, Any]
    spec: ClipSpec

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL

    @property
    def detector_folder(self) -> Path:
        return self.folder / DETECTOR

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(i["name"] for i in self.info["inputs"])

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(o["name"] for o in self.info["outputs"])

    @property
    def frames(self) -> str:
        return str(self.info["frames"])

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.info["modalities"])


def find_default_bundle() -> Path:
    """The folder that KERAS_EMO_BUNDLE names, or else that of the pretrained model."""
    return Path(os.environ.get("KERAS_EMO_BUNDLE") or "saved_models/default")


def load_bundle(folder: str | os.PathLike[str] | None = None) -> Bundle:
    """Read and verify a bundle: schema, labels in order, sha256 of every file it names.

    folder: by default find_default_bundle(). Raises BundleError naming the file and what is wrong
    with it.
    """
    folder = find_default_bundle() if folder is None else Path(folder)
    info = _read_description(folder)
    for entry in REQUIRED:
        if entry not in info:
            raise _refuse(folder / DESCRIPTION, f"the entry {entry!r} is missing")
    _check_forms(folder / DESCRIPTION, info)
    if info["schema"] != SCHEMA:
        raise _refuse(folder / DESCRIPTION, f"schema {info['schema']}, expected {SCHEMA}")
    if tuple(info["labels"]) != EMOTIONS:
        raise _refuse(folder / DESCRIPTION, f"labels {info['labels']}, expected {list(EMOTIONS)}")
    if info["frames"] not in FRAMES:
        raise _refuse(folder / DESCRIPTION, f"unknown frames {info['frames']!r}")
    try:
        spec = ClipSpec.from_dict(info["clip_spec"])
    except (TypeError, ValueError, KeyError) as e:
        raise _refuse(folder / DESCRIPTION, f"clip_spec: {e}") from None
    for name in (MODEL, *(f"{DETECTOR}/{n}" for n in NETWORKS)):
        if name not in info["files"]:
            raise _refuse(folder / DESCRIPTION, f"{name} is not among its files")
    for name, known in info["files"].items():
        try:
            _verify_file(folder, name, known)
        except OSError as e:  # unreadable, or gone meanwhile
            raise _refuse(folder / name, e.strerror or str(e)) from e
    return Bundle(folder, info, spec)


def load_golden(path: Path) -> tuple[Batch, Batch]:
    """Inputs and expected outputs by name, at least one of each. Raises BundleError."""
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as e:
        raise _refuse(path, f"no golden values can be read from it: {e}") from e
    feed = {k[3:]: a for k, a in arrays.items() if k.startswith("in_")}
    expected = {k[4:]: a for k, a in arrays.items() if k.startswith("out_")}
    if not feed or not expected:
        raise _refuse(path, "it lacks golden inputs or outputs")
    return feed, expected


def _check_forms(path: Path, info: dict[str, Any]) -> None:
    """Refuse entries of another JSON type than the code relies on."""
    forms = {"labels": list, "modalities": list, "inputs": list, "outputs": list,
             "files": dict, "corpus": dict}  # fmt: skip
    for key, form in forms.items():
        if not isinstance(info[key], form):
            raise _refuse(path, f"the entry {key!r} is not a {form.__name__}")
    for key in ("inputs", "outputs"):
        for given in info[key]:
            if not isinstance(given, dict) or not isinstance(given.get("name"), str):
                raise _refuse(path, f"the entry {key!r} holds something without a name")
    known: tuple[tuple[str, list[Any], Sequence[str]], ...] = (
        ("modalities", info["modalities"], MODALITIES),
        ("inputs", [i["name"] for i in info["inputs"]], INPUTS),
    )
    for key, names, allowed in known:
        if not names or not all(name in allowed for name in names):
            raise _refuse(path, f"the entry {key!r} names {names}, not some of {list(allowed)}")
    if LOGITS not in [o["name"] for o in info["outputs"]]:
        raise _refuse(path, f"the entry 'outputs' lacks {LOGITS!r}")
    split = info["corpus"].get("split")
    for part in ("train", "val", "test"):
        speakers = split.get(part) if isinstance(split, dict) else None
        if not isinstance(speakers, list) or not all(isinstance(s, str) for s in speakers):
            raise _refuse(path, f"the entry 'corpus' has no list of {part} speakers in its split")


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise BundleError(
            folder,
            Reason.NO_BUNDLE,
            "no such bundle folder; name one with --bundle or KERAS_EMO_BUNDLE",
        )
    if not path.is_file():
        raise BundleError(folder, Reason.NO_BUNDLE, f"the folder holds no {DESCRIPTION}")
    try:
        data = path.read_bytes()
        info = json.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise _refuse(path, f"not readable as JSON: {e}") from None
    if not isinstance(info, dict):
        raise _refuse(path, "not a JSON object")
    return info


def _verify_file(folder: Path, name: str, known: Any) -> None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise _refuse(folder / DESCRIPTION, f"the file name {name!r} leads out of the bundle")
    if not path.is_file() or path.resolve() != folder.resolve() / name:
        raise _refuse(path, "named in bundle.json, but not a file here")
    expected = known.get("sha256") if isinstance(known, dict) else None
    found = digest_file(path)
    if found != expected:
        raise _refuse(path, f"sha256 {found[:16]}..., expected {str(expected)[:16]}...")
    if path.suffix == ".onnx" and _EXTERNAL in path.read_bytes():
        raise _refuse(path, "it keeps weights in another file, which no digest covers")


def _refuse(path: Path, cause: str) -> BundleError:
    return BundleError(path, Reason.BAD_BUNDLE, cause)
