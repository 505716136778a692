"""What a sandbox's worker says: a JSON header and raw arrays, never pickles.

A message is four bytes, the header's length (little-endian), the header, and the arrays, whose
shapes follow from the header's counts and the clip spec. Nothing the worker says is trusted:
what does not fit raises ValueError here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.predict import ReadState, TrackedWindow, pick_face
from keras_emo.inference.results import MODALITIES, Damage, Probs, find_label
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.progress import make_printable
from keras_emo.spec import ClipSpec

Header = dict[str, Any]
Arrays = list[np.ndarray]
Read = Callable[[int], bytearray]  # exactly so many bytes

MAX_HEADER = 1 << 20  # bytes
_MAX_TEXTS, _MAX_TEXT = 64, 2000  # characters
_MAX_COUNT = 1 << 31
_MAX_S = 1e12


def pack(header: Header, arrays: Sequence[np.ndarray] = ()) -> list[bytes]:
    """A message in parts, to be written one after the other."""
    text = json.dumps(header).encode()
    return [len(text).to_bytes(4, "little"), text, *(a.tobytes() for a in arrays)]


def read_header(read: Read, limit: int = MAX_HEADER) -> Header:
    """The header of the next message. Raises ValueError."""
    size = int.from_bytes(read(4), "little")
    if size > limit:
        raise ValueError(f"a header of {size} bytes")
    try:
        header = json.loads(bytes(read(size)))
    except RecursionError:
        raise ValueError("a header nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return header


def encode_source(source: ClipSource) -> Header:
    """The files of a clip, absolute, names of any bytes."""
    files = {"video": source.video, "audio": source.audio}
    named = {key: None if path is None else _encode_path(path) for key, path in files.items()}
    return {**named, "frames": [_encode_path(path) for path in source.frames]}


def decode_source(header: Header) -> ClipSource:
    """Inverse of encode_source, but for the paths being absolute."""
    video, audio = (
        _decode_path(header[key]) if header[key] else None for key in ("video", "audio")
    )
    return ClipSource(video, audio, tuple(_decode_path(name) for name in header["frames"]))


def _encode_path(path: Path) -> str:
    return os.fsencode(os.path.abspath(path)).hex()


def _decode_path(name: str) -> Path:
    return Path(os.fsdecode(bytes.fromhex(name)))


def encode_inputs(inputs: ClipInputs) -> tuple[Header, Arrays]:
    """Header and arrays of a prepared clip."""
    header = {
        "n_frames": 0 if inputs.face is None else len(inputs.face),
        "has_voice": inputs.mfcc is not None,
        "duration_s": inputs.duration_s,
        "frames_examined": inputs.frames_examined,
        "states": inputs.states,
        "warnings": inputs.warnings,
        "damaged_packets": inputs.damaged_packets,
        "missing_s": inputs.missing_s,
        "face_id": inputs.face_id,
    }
    arrays = []
    if inputs.face is not None:
        arrays += [inputs.face, inputs.face_found, inputs.times_s, inputs.boxes]
    if inputs.mfcc is not None:
        arrays.append(inputs.mfcc)
    return header, arrays


def decode_inputs(header: Header, read: Read, spec: ClipSpec) -> ClipInputs:
    """Inverse of encode_inputs. Raises ValueError."""
    n = take_count(header, "n_frames", spec.face.max_frames)
    inputs = ClipInputs(
        face=_read_array(read, np.uint8, (n, *spec.face.shape)) if n else None,
        face_found=_read_bools(read, n),
        times_s=_read_array(read, np.float32, (n,)),
        boxes=_read_array(read, np.float32, (n, 4)),
        mfcc=_read_array(read, np.float32, spec.audio.shape) if _take_bool(header) else None,
        duration_s=_take_number(header, "duration_s"),
        frames_examined=take_count(header, "frames_examined"),
        states=tuple(_take_states(header)),
        warnings=tuple(take_texts(header, "warnings")),
        damaged_packets=take_count(header, "damaged_packets"),
        missing_s=_take_number(header, "missing_s"),
        face_id=_take_id(header),
    )
    if n and not inputs.face_found.any():
        raise ValueError("crops without a face")
    return inputs


def encode_window(window: TrackedWindow) -> tuple[Header, Arrays]:
    """Header and arrays of a window."""
    header = {
        "n_frames": len(window.times_s),
        "start_s": window.start_s,
        "end_s": window.end_s,
        "probs": window.probs,
        "probs_face": window.probs_face,
        "probs_voice": window.probs_voice,
        "modalities": window.modalities,
        "states": window.states,
        "face_id": None if window.face is None else window.face.id,
        "crop_s": None if window.crop is None else window.crop[0],
    }
    crop = [] if window.crop is None else [window.crop[1]]
    return header, [window.times_s, window.boxes, *crop]


def decode_window(header: Header, read: Read, spec: ClipSpec) -> TrackedWindow:
    """Inverse of encode_window. Raises ValueError."""
    n = take_count(header, "n_frames", spec.face.max_frames)
    times_s = _read_array(read, np.float32, (n,))
    boxes = _read_array(read, np.float32, (n, 4))
    crop: tuple[float, np.ndarray] | None = None
    if header.get("crop_s") is not None:
        crop = _take_number(header, "crop_s"), _read_array(read, np.uint8, spec.face.shape)
    probs = _take_probs(header, "probs")
    label = None if probs is None else find_label(probs)
    return TrackedWindow(
        start_s=_take_number(header, "start_s"),
        end_s=_take_number(header, "end_s"),
        label=label,
        confidence=None if probs is None or label is None else probs[label],
        probs=probs,
        modalities=_take_modalities(header, "modalities"),
        states=tuple(_take_states(header)),
        face=pick_face(_take_id(header), boxes),
        probs_face=_take_probs(header, "probs_face"),
        probs_voice=_take_probs(header, "probs_voice"),
        times_s=times_s,
        boxes=boxes,
        crop=crop,
    )


def encode_state(state: ReadState) -> Header:
    """How far a recording has been read, and what of it could not be."""
    return {
        "duration_s": state.duration_s,
        "declared_s": state.declared_s,
        "damaged_packets": state.damage.packets,
        "missing_s": state.damage.missing_s,
        "warnings": state.warnings,
    }


def decode_state(header: Header) -> ReadState:
    """Inverse of encode_state. Raises ValueError."""
    return ReadState(
        duration_s=_take_number(header, "duration_s"),
        declared_s=_take_number(header, "declared_s"),
        damage=Damage(take_count(header, "damaged_packets"), _take_number(header, "missing_s")),
        warnings=tuple(take_texts(header, "warnings")),
    )


def take_object(header: Header, key: str) -> Header:
    """An object below a header. Raises ValueError."""
    value = header.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} is no object")
    return value


def take_reason(value: Any) -> Reason:
    """A reason code. Raises ValueError."""
    return Reason(value if isinstance(value, str) else "")


def take_texts(header: Header, key: str) -> list[str]:
    """A list of short texts, what a terminal would obey replaced. Raises ValueError."""
    values = header.get(key)
    if not isinstance(values, list) or len(values) > _MAX_TEXTS:
        raise ValueError(f"{key} is no list of texts")
    if not all(isinstance(v, str) and len(v) <= _MAX_TEXT for v in values):
        raise ValueError(f"{key} holds other than short texts")
    return [make_printable(v) for v in values]


def take_count(header: Header, key: str, limit: int = _MAX_COUNT) -> int:
    """A whole number from 0 to limit. Raises ValueError."""
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError(f"{key} is {value!r:.50}, expected 0 to {limit}")
    return value


def _take_modalities(header: Header, key: str) -> tuple[str, ...]:
    names = take_texts(header, key)
    if not set(names) <= set(MODALITIES) or len(set(names)) < len(names):
        raise ValueError(f"{key} {names}")
    return tuple(names)


def _take_probs(header: Header, key: str) -> Probs | None:
    if header.get(key) is None:
        return None
    probs = take_object(header, key)
    if set(probs) != set(EMOTIONS):
        raise ValueError(f"{key} is not a probability for each emotion")
    return {name: _take_number(probs, name) for name in EMOTIONS}


def _take_states(header: Header) -> list[Reason]:
    return [take_reason(v) for v in take_texts(header, "states")]


def _take_bool(header: Header, key: str = "has_voice") -> bool:
    value = header.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r:.50}")
    return value


def _take_number(header: Header, key: str) -> float:
    value = header.get(key)
    if not isinstance(value, int | float) or not 0 <= value <= _MAX_S:
        raise ValueError(f"{key} is {value!r:.50}")
    return float(value)


def _take_id(header: Header) -> int | None:
    return None if header.get("face_id") is None else take_count(header, "face_id")


def _read_array(read: Read, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    array: np.ndarray = np.frombuffer(
        read(math.prod(shape) * np.dtype(kind).itemsize), kind
    ).reshape(shape)
    if kind is np.float32 and not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array


def _read_bools(read: Read, n: int) -> np.ndarray:
    array = _read_array(read, np.uint8, (n,))
    if array.size and array.max() > 1:
        raise ValueError("flags that are neither 0 nor 1")
    return array.astype(bool)
