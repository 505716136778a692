"""Files that runs and caches write; contract: what was saved, or an EmoError.

The first byte selects the input: the manifest of a checkpoint, a prepared clip, the description of
a corpus, a split or the settings of a clip.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from mutation import mutate_json, mutate_one_of, mutate_zip

from keras_emo.data.cache import load_clip, load_mfcc
from keras_emo.data.clips import open_clip
from keras_emo.data.corpora import read_corpus
from keras_emo.data.splits import Split, read_split
from keras_emo.errors import EmoError
from keras_emo.spec import ClipSpec, FaceSpec
from keras_emo.training.checkpoint import Checkpoints

IDENTITY = {"seed": 0, "split": "a"}
FOLDER = Path(tempfile.mkdtemp())
KEPT, CORPUS = FOLDER / "kept", FOLDER / "corpus"

mutate = mutate_one_of((mutate_json, mutate_zip, mutate_json, mutate_json, mutate_json))


def make_seeds() -> Iterator[bytes]:
    yield b"\0" + (KEPT / "state.json").read_bytes()
    facts = {"duration_s": 1.0, "frames_examined": 2, "states": ["no_face"], "warnings": []}
    clip, voice = io.BytesIO(), io.BytesIO()
    np.savez(clip, face_found=np.ones(2, bool), times_s=np.zeros(2, np.float32),
             boxes=np.zeros((2, 4), np.float32), info=np.array(json.dumps(facts)),
             face=np.zeros((2, 4, 4, 3), np.uint8))  # fmt: skip
    np.savez(voice, mfcc=np.zeros((1, 2, 3), np.float32))
    yield from (b"\1" + f.getvalue() for f in (clip, voice))
    yield b"\2" + json.dumps({"generator": "keras_emo.demo_corpus", "note": "x"}).encode()
    yield b"\3" + json.dumps(Split(("a", "b"), ("c",), ()).to_dict()).encode()
    for spec in (ClipSpec(), ClipSpec(FaceSpec(speaker="central", decode_max_px=0))):
        yield b"\4" + json.dumps(spec.to_dict()).encode()


def attack(data: bytes) -> None:
    readers = (_restore, _load, _corpus, _split, _spec)
    reader = readers[data[0] % len(readers)] if data else _restore
    with contextlib.suppress(EmoError), contextlib.redirect_stderr(io.StringIO()):
        reader(data[1:])


def _restore(data: bytes) -> None:
    """After whatever was restored, training can resume."""
    folder = FOLDER / "stage"
    shutil.copytree(KEPT, folder)
    try:
        (folder / "state.json").write_bytes(data)
        checkpoints = Checkpoints(folder, IDENTITY)
        epoch = checkpoints.restore()
        if epoch:
            checkpoints.load(epoch - 1)
        checkpoints.save(epoch, {"x": np.zeros(1)}, [0.3], {"loss": 0.5}, True)
        assert Checkpoints(folder, IDENTITY).restore() == epoch + 1
    finally:
        shutil.rmtree(folder)


def _load(data: bytes) -> None:
    path = FOLDER / "clip.npz"
    path.write_bytes(data)
    for load in (load_clip, load_mfcc, partial(open_clip, spec=ClipSpec())):
        with contextlib.suppress(EmoError):
            load(path)


def _corpus(data: bytes) -> None:
    (CORPUS / "corpus.json").write_bytes(data)
    read_corpus(CORPUS)


def _split(data: bytes) -> None:
    path = FOLDER / "split.json"
    path.write_bytes(data)
    split = read_split(path)
    assert Split.from_dict(split.to_dict()) == split
    split.digest()


def _spec(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        spec = ClipSpec.from_dict(value)
    except (TypeError, ValueError, KeyError):
        return
    again = ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert (again, again.digest()) == (spec, spec.digest())
    sizes = (*spec.face.shape, *spec.audio.shape, spec.face.max_frames, spec.audio.n_fft)
    assert all(type(n) is int and n > 0 for n in sizes), sizes


os.fsync = lambda handle: None  # power cuts are not tested here
CORPUS.mkdir()
(CORPUS / "01-01-05-02-01-01-03.mp4").write_bytes(b"x")
_kept = Checkpoints(KEPT, IDENTITY)
KEPT.mkdir()
for _epoch, _rank in enumerate((0.1, 0.5, 0.2)):
    _kept.save(_epoch, {"x": np.zeros(1)}, [_rank], {"loss": 1.0}, False)
