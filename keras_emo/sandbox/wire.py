"""Messages to and from a sandbox's worker: a JSON header and raw arrays, never pickles.

A message is four bytes, the header's length (little-endian), the header, and the arrays, whose
shapes follow from the header's number of frames and the clip spec. Nothing that the worker sends
is trusted: what does not fit raises ValueError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from keras_emo.errors import Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.manifest import BundleManifest
from keras_emo.inference.predict import TrackedWindow
from keras_emo.inference.results import MODALITIES, find_label
from keras_emo.labels import EMOTIONS
from keras_emo.progress import make_printable
from keras_emo.records import read_fields
from keras_emo.sandbox.limits import Limits
from keras_emo.spec import ClipSpec

Header = dict[str, Any]
Arrays = list[np.ndarray]
Read = Callable[[int], bytes | bytearray]  # exactly so many bytes

MAX_HEADER = 1 << 20  # bytes
_MAX_ITEMS, _MAX_TEXT = 64, 2000  # values in a list or object, characters
_MAX_NUMBER = 1e12

T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """What a worker starts with. folder: of the bundle. warm: every network has to run first."""

    folder: Path
    manifest: BundleManifest
    limits: Limits
    threads: int
    warm: bool


@dataclass(frozen=True)
class Failure:
    """A ClipError of the worker. file: its number among those of the source."""

    file: int
    reason: Reason
    cause: str


def pack(header: Header, arrays: Sequence[np.ndarray] = ()) -> list[bytes]:
    """A message in parts, to be written one after the other; paths become absolute."""
    text = json.dumps(header, default=lambda path: str(path.absolute())).encode()
    return [len(text).to_bytes(4, "little"), text, *(a.tobytes() for a in arrays)]


def read_header(read: Read, trusted: bool = False) -> Header:
    """The header of the next message, of any size and content if trusted. Raises ValueError."""
    size = int.from_bytes(read(4), "little")
    if size > MAX_HEADER and not trusted:
        raise ValueError(f"a header of {size} bytes")
    try:
        header = json.loads(bytes(read(size)))
    except RecursionError:
        raise ValueError("a header nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("a header that is not an object")
    return header if trusted else check_values(header)


def encode_record(record: ClipInputs | TrackedWindow) -> tuple[Header, Arrays]:
    """Header and arrays of a prepared clip, or of a window."""
    header = asdict(record)
    arrays = {k: header.pop(k) for k, v in tuple(header.items()) if isinstance(v, np.ndarray)}
    header |= {"n_frames": len(arrays["times_s"]), "arrays": list(arrays)}
    return header, list(arrays.values())


def decode_record(kind: type[T], header: Header, read: Read, spec: ClipSpec) -> T:
    """Inverse of encode_record. Raises ValueError."""
    n, names = header.get("n_frames"), header.get("arrays")
    if type(n) is not int or n > spec.face.max_frames or not isinstance(names, list):
        raise ValueError(f"n_frames is {n!r}, arrays {names!r:.50}")
    shapes = {
        "face": (np.uint8, (n, *spec.face.shape)),
        "face_found": (np.bool_, (n,)),
        "times_s": (np.float32, (n,)),
        "boxes": (np.float32, (n, 4)),
        "mfcc": (np.float32, spec.audio.shape),
        "crop": (np.uint8, spec.face.shape),
    }
    kinds = (np.ndarray, np.ndarray | None)
    wanted = [name for name, hint in get_type_hints(kind).items() if hint in kinds]
    if len(set(names)) < len(names) or not set(names) <= set(wanted):
        raise ValueError(f"arrays {names!r:.50}, not some of {wanted}")
    absent: dict[str, Any] = {name: None for name in wanted if name not in names}
    present = {name: read_array(read, *shapes[name]) for name in names}
    record = read_fields(kind, {**header, **absent, **present})
    if isinstance(record, TrackedWindow):
        _check_window(record)
    elif isinstance(record, ClipInputs):
        if (record.face is None) != (len(record.face_found) == 0):
            raise ValueError("frames without crops")
        if record.face is not None and not record.face_found.any():
            raise ValueError("crops without a face")
    return record


def _check_window(window: TrackedWindow) -> None:
    if window.modalities not in ((), MODALITIES, *((name,) for name in MODALITIES)):
        raise ValueError(f"modalities {window.modalities}")
    for probs in (window.probs, window.probs_face, window.probs_voice):
        if probs is not None and list(probs) != list(EMOTIONS):
            raise ValueError("a probability for other than each emotion")
    best = (None, None) if window.probs is None else find_label(window.probs)
    if (window.label, window.confidence) != best:
        raise ValueError("a label that is not the most probable one")
    if (window.crop is None) != (window.crop_s is None):
        raise ValueError("a crop without its time")


def check_values(value: Any, signed: bool = False) -> Any:
    """JSON values of bounded size, with what would steer a terminal replaced in texts.

    signed: numbers may be negative, as in boxes. Raises ValueError.
    """
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        return make_printable(value)
    if isinstance(value, list | dict) and len(value) > _MAX_ITEMS:
        raise ValueError(f"{len(value)} values")
    if isinstance(value, list):
        return [check_values(inner, signed) for inner in value]
    if isinstance(value, dict):
        return {key: check_values(inner, key == "box") for key, inner in value.items()}
    if isinstance(value, int | float) and (-_MAX_NUMBER if signed else 0) <= value <= _MAX_NUMBER:
        return value
    if value is None:
        return None
    raise ValueError(f"the value {value!r:.50}")


def read_array(read: Read, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    """The next array. Raises ValueError for numbers that are not finite, flags beyond 0 and 1."""
    data = read(math.prod(shape) * np.dtype(kind).itemsize)
    if kind is np.bool_ and data and max(data) > 1:
        raise ValueError("flags that are neither 0 nor 1")
    array: np.ndarray = np.frombuffer(data, kind).reshape(shape)
    if kind is np.float32 and not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array
