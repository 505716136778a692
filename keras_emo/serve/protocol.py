"""Tensors as the open inference protocol, version 2, writes them: as JSON and as raw bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_emo.inference.batch import Batch
from keras_emo.serve.refusals import Refusal, Refused

DATATYPE = "FP32"
HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the network. shape: numbers, or names of sizes that may vary."""

    name: str
    shape: tuple[int | str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Metadata, a varying size as -1."""
        shape = [size if isinstance(size, int) else -1 for size in self.shape]
        return {"name": self.name, "datatype": DATATYPE, "shape": shape}


def read_specs(described: Sequence[Mapping[str, Any]]) -> list[TensorSpec]:
    """From the ``inputs`` or ``outputs`` of bundle.json."""
    return [TensorSpec(d["name"], tuple(d["shape"])) for d in described]


@dataclass(frozen=True)
class InferRequest:
    """Arrays for the network, and which outputs are wanted: name to whether as raw bytes."""

    feed: Batch
    wanted: dict[str, bool]
    id: str | None


def read_request(
    body: bytes, header_length: str | None, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> InferRequest:
    """Parse and check a request. header_length: of the JSON before raw tensors, None without.

    Raises Refusal (bad_request) naming what does not fit.
    """
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > length:
            raise _bad(f"{HEADER_LENGTH} is not a length within the body")
        length = int(header_length)
    try:
        data = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise _bad("the request is not JSON") from None
    if not isinstance(data, dict):
        raise _bad("the request is not a JSON object")
    identifier = data.get("id")
    if not isinstance(identifier, str | None):
        raise _bad("id is not a string")
    feed = _read_inputs(data.get("inputs"), memoryview(body)[length:], inputs)
    return InferRequest(feed, _read_wanted(data, outputs), identifier)


def _read_inputs(given: Any, raw: memoryview, specs: Sequence[TensorSpec]) -> Batch:
    known = {spec.name: spec for spec in specs}
    feed: Batch = {}
    sizes: dict[str, int] = {}
    at = 0
    if not isinstance(given, list):
        raise _bad("inputs is not a list")
    for tensor in given:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name not in known or name in feed:
            raise _bad(f"expected the inputs {', '.join(known)}, each once")
        shape = _check_shape(tensor, known[name], sizes)
        n_bytes = _parameters(tensor, name).get("binary_data_size")
        if n_bytes is None:
            feed[name] = _read_numbers(tensor.get("data"), name, shape)
            continue
        if n_bytes != math.prod(shape) * 4 or at + n_bytes > len(raw):
            raise _bad(f"{name}: {n_bytes!r:.50} bytes do not make {shape} of {DATATYPE}")
        feed[name] = np.frombuffer(raw[at : at + n_bytes], "<f4").reshape(shape)
        at += n_bytes
    if at != len(raw):
        raise _bad("more raw bytes than the inputs say")
    for name in known:
        if name not in feed:
            raise _bad(f"the input {name} is missing")
        if not np.isfinite(feed[name]).all():
            raise _bad(f"{name} holds numbers that are not finite")
    return feed


def _check_shape(tensor: dict[str, Any], spec: TensorSpec, sizes: dict[str, int]) -> list[int]:
    """The shape, if it is the network's; sizes that vary are the same in all tensors."""
    name, shape = spec.name, tensor.get("shape")
    if tensor.get("datatype") != DATATYPE:
        raise _bad(f"{name}: the datatype is {DATATYPE}")
    if not isinstance(shape, list) or len(shape) != len(spec.shape):
        raise _bad(f"{name}: expected a shape of {len(spec.shape)} numbers")
    for size, wanted in zip(shape, spec.shape, strict=True):
        if type(size) is not int or not 1 <= size < 1 << 31:
            raise _bad(f"{name}: {size!r:.50} is no size")
        expected = wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size)
        if size != expected:
            raise _bad(f"{name}: {size} in its shape, expected {expected}")
    return shape


def _read_numbers(data: Any, name: str, shape: list[int]) -> np.ndarray:
    try:
        array = np.array(data)
    except (ValueError, OverflowError):  # ragged, or too deep
        raise _bad(f"{name}: data is not an array") from None
    if array.dtype.kind not in "iuf" or array.size != math.prod(shape):
        raise _bad(f"{name}: data is not {math.prod(shape)} numbers")
    with np.errstate(over="ignore"):  # found to be infinite afterwards
        return array.astype(np.float32).reshape(shape)


def _read_wanted(data: dict[str, Any], outputs: Sequence[str]) -> dict[str, bool]:
    as_bytes = _flag(_parameters(data, "request"), "binary_data_output", False)
    given = data.get("outputs")
    if given is None or given == []:
        return dict.fromkeys(outputs, as_bytes)
    if not isinstance(given, list):
        raise _bad("outputs is not a list")
    wanted: dict[str, bool] = {}
    for output in given:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in outputs:
            raise _bad(f"expected outputs among {', '.join(outputs)}")
        wanted[name] = _flag(_parameters(output, name), "binary_data", as_bytes)
    return wanted


def _parameters(data: dict[str, Any], name: str) -> dict[str, Any]:
    parameters = data.get("parameters")
    if not isinstance(parameters, dict | None):
        raise _bad(f"{name}: parameters is not an object")
    return parameters or {}


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise _bad(f"{key} is neither true nor false")
    return value


def write_answer(
    model: str, request: InferRequest, said: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an answer; raw tensors follow the JSON. Raises Refusal."""
    described, raw = [], []
    for name, as_bytes in request.wanted.items():
        array = np.ascontiguousarray(said[name], "<f4")
        if not np.isfinite(array).all():
            raise _bad(f"the network overflows at these inputs: {name} is not finite")
        tensor: dict[str, Any] = {"name": name, "datatype": DATATYPE, "shape": list(array.shape)}
        if as_bytes:
            raw.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps(answer).encode()
    if not raw:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *raw]), headers


def _bad(cause: str) -> Refusal:
    return Refusal(Refused.BAD_REQUEST, cause)
