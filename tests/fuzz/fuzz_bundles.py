"""Bundles; contract: one that can be used, or BundleError.

The first byte selects the input: bundle.json, whose digests of the files are right unless
mutated, the golden values or a network.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from mutation import mutate_bytes, mutate_json, mutate_one_of, mutate_zip

from keras_emo.errors import BundleError
from keras_emo.features.mtcnn import NETWORKS, PACKAGE_DATA
from keras_emo.inference.bundle import load_bundle, load_golden
from keras_emo.inference.session import open_session
from keras_emo.io import digest_file

FILES = ("model.onnx", "golden.npz", *(f"detector/{n}" for n in NETWORKS))
FOLDER = Path(tempfile.mkdtemp())
SHIPPED = Path(__file__).parents[2] / "saved_models" / "default"

mutate = mutate_one_of((mutate_json, mutate_zip, mutate_bytes))


def make_seeds() -> Iterator[bytes]:
    manifest = json.loads((SHIPPED / "bundle.json").read_bytes())
    manifest["files"] = {n: {"sha256": digest_file(FOLDER / n), "bytes": 1} for n in FILES}
    yield b"\0" + json.dumps(manifest).encode()
    golden = io.BytesIO()
    np.savez(golden, in_mfcc=np.zeros((2, 2, 2), np.float32), out_logits=np.zeros(7, np.float32))
    yield b"\1" + golden.getvalue()
    yield b"\2" + (PACKAGE_DATA / "pnet.onnx").read_bytes()


def attack(data: bytes) -> None:
    reader = (_load, _load_golden, _open)[data[0] % 3] if data else _load
    with suppress(BundleError):
        reader(data[1:])


def _load(data: bytes) -> None:
    (FOLDER / "bundle.json").write_bytes(data)
    bundle = load_bundle(FOLDER)
    names = (*bundle.inputs, *bundle.outputs, *bundle.modalities, bundle.manifest.frames)
    assert all(isinstance(name, str) for name in names), names


def _load_golden(data: bytes) -> None:
    (FOLDER / "given.npz").write_bytes(data)
    feed, expected = load_golden(FOLDER / "given.npz")
    assert feed
    assert expected
    assert all(isinstance(a, np.ndarray) for a in (*feed.values(), *expected.values()))


def _open(data: bytes) -> None:
    open_session(data, 1)


for _name in FILES:
    (FOLDER / _name).parent.mkdir(exist_ok=True)
    (FOLDER / _name).write_bytes(_name.encode())
