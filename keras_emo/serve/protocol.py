"""The open inference protocol, version 2: health, metadata, tensors as JSON and as raw bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response
from pydantic import Field, TypeAdapter, ValidationError

from keras_emo import __version__
from keras_emo.inference.batch import Batch, Run
from keras_emo.inference.manifest import TensorSpec
from keras_emo.serve.refusals import ProtocolError, Refusal, RefusalReason
from keras_emo.serve.service import Service
from keras_emo.serve.uploads import read_body

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPE: Final = "FP32"


@dataclass(frozen=True)
class ServerMetadata:
    name: str
    version: str
    extensions: tuple[str, ...] = ("binary_tensor_data",)


@dataclass(frozen=True)
class ModelReady:
    name: str
    ready: bool


@dataclass(frozen=True)
class TensorMetadata:
    """An input or output of the network; shape: -1 where a size may vary."""

    name: str
    datatype: Literal["FP32"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    name: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    versions: tuple[str, ...] = ("1",)
    platform: str = "onnxruntime_onnx"


@dataclass(frozen=True)
class Parameters:
    """Which arrays are raw bytes after the JSON. binary_data_output: all that are responses."""

    binary_data_size: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


@dataclass(frozen=True)
class Tensor:
    """An array of a request or response; without data its raw bytes follow the JSON."""

    name: str
    shape: list[Annotated[int, Field(ge=1, lt=1 << 31)]]
    datatype: Literal["FP32"]
    data: list[Any] | None = None
    parameters: Parameters | None = None


@dataclass(frozen=True)
class RequestedOutput:
    name: str
    parameters: Parameters | None = None


@dataclass(frozen=True)
class InferenceRequest:
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None = None
    id: str | None = None
    parameters: Parameters | None = None


@dataclass(frozen=True)
class InferenceResponse:
    model_name: str
    outputs: list[Tensor]
    id: str | None = None


_REQUEST, _RESPONSE = TypeAdapter(InferenceRequest), TypeAdapter(InferenceResponse)
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_PARAMETERS = {"$ref": "#/components/schemas/Parameters"}
_OUTPUT_SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
}
_REQUEST_SCHEMA = {  # the body is parsed outside of FastAPI; the references are of the response
    "title": "InferenceRequest",
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        "outputs": {"type": "array", "items": _OUTPUT_SCHEMA},
    },
}
_BODY = {"required": True, "content": {"application/json": {"schema": _REQUEST_SCHEMA}, **_BINARY}}
_ERRORS: dict[int | str, dict[str, Any]] = {c: {"model": ProtocolError} for c in ("4XX", "5XX")}


def describe_tensor(tensor: TensorSpec) -> TensorMetadata:
    """Metadata of an input or output, a size that varies as -1."""
    sizes = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return TensorMetadata(tensor.name, DATATYPE, sizes)


@dataclass(frozen=True)
class InferenceJob:
    """A checked request: arrays for the network; per requested output, whether as raw bytes."""

    feed: Batch
    outputs: dict[str, bool]
    id: str | None


def create_router(service: Service) -> APIRouter:
    """The routes of the protocol."""
    router = APIRouter(tags=["tensors"])
    manifest = service.bundle.manifest
    name, inputs, outputs = manifest.name, manifest.inputs, manifest.outputs
    named = PathParameter(json_schema_extra={"enum": [name]})

    def check_name(model: str) -> None:
        if model != name:
            raise Refusal(RefusalReason.UNKNOWN_MODEL, f"this service has the model {name}")

    def check_ready(response: Response) -> bool:
        response.status_code = 200 if service.accepts else 503
        return service.accepts

    @router.get("/v2", responses=_ERRORS)
    async def describe_server() -> ServerMetadata:
        return ServerMetadata("keras_emo", __version__)

    @router.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", responses={503: {"model": dict[str, bool]}})
    async def ready(response: Response) -> dict[str, bool]:
        return {"ready": check_ready(response)}

    @router.get("/v2/models/{model}", responses=_ERRORS)
    async def describe_model(model: str = named) -> ModelMetadata:
        check_name(model)
        return ModelMetadata(
            name, tuple(map(describe_tensor, inputs)), tuple(map(describe_tensor, outputs))
        )

    @router.get("/v2/models/{model}/ready", responses={**_ERRORS, 503: {"model": ModelReady}})
    async def model_ready(response: Response, model: str = named) -> ModelReady:
        check_name(model)
        return ModelReady(name, check_ready(response))

    @router.post(
        "/v2/models/{model}/infer",
        responses={200: {"model": InferenceResponse, "content": _BINARY}, **_ERRORS},
        openapi_extra={"requestBody": _BODY},
        summary="Run the network on tensors",
    )
    async def infer(request: Request, model: str = named) -> Response:
        check_name(model)
        with service.enter():
            limit = service.settings.max_tensor_bytes
            body = b"".join([b async for b in read_body(request, service.settings, limit)])
            length = request.headers.get(HEADER_LENGTH)

            def work(run: Run) -> tuple[bytes, dict[str, str]]:
                job = read_request(body, length, inputs, service.bundle.outputs)
                return write_response(name, job, run(job.feed))

            content, headers = await service.infer(work)
            return Response(content, headers=headers)

    return router


def read_request(
    body: bytes, header_length: str | None, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> InferenceJob:
    """Parse and check a request. header_length: of the JSON before raw tensors, None without.

    Raises Refusal (bad_request) that names what is wrong.
    """
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > length:
            raise _bad(f"{HEADER_LENGTH} is not a length within the body")
        length = int(header_length)
    try:
        request = _REQUEST.validate_json(body[:length], strict=True)
    except ValidationError as e:
        texts = [": ".join([*map(str, d["loc"]), d["msg"]]) for d in e.errors()[:5]]
        raise _bad("; ".join(texts)) from None
    feed = _read_inputs(request.inputs, memoryview(body)[length:], inputs)
    return InferenceJob(feed, _read_outputs(request, outputs), request.id)


def _read_inputs(tensors: Sequence[Tensor], raw: memoryview, specs: Sequence[TensorSpec]) -> Batch:
    known = {spec.name: spec for spec in specs}
    feed: Batch = {}
    sizes: dict[str, int] = {}
    start = 0
    for tensor in tensors:
        name = tensor.name
        if name not in known or name in feed:
            raise _bad(f"expected the inputs {', '.join(known)}, each once")
        _check_shape(tensor, known[name], sizes)
        n_bytes = tensor.parameters and tensor.parameters.binary_data_size
        if n_bytes is None:
            feed[name] = _read_numbers(tensor)
            continue
        if n_bytes != math.prod(tensor.shape) * 4 or start + n_bytes > len(raw):
            raise _bad(f"{name}: {n_bytes} bytes do not fit {tensor.shape} of {DATATYPE}")
        feed[name] = np.frombuffer(raw[start : start + n_bytes], "<f4").reshape(tensor.shape)
        start += n_bytes
    if start != len(raw):
        raise _bad("more raw bytes than the inputs declare")
    for name in known:
        if name not in feed:
            raise _bad(f"the input {name} is missing")
        if not np.isfinite(feed[name]).all():
            raise _bad(f"{name} contains numbers that are not finite")
    return feed


def _check_shape(tensor: Tensor, spec: TensorSpec, sizes: dict[str, int]) -> None:
    """Compare with the network's shape; sizes that vary are the same in all tensors."""
    if len(tensor.shape) != len(spec.shape):
        raise _bad(f"{spec.name}: expected a shape of {len(spec.shape)} numbers")
    for size, wanted in zip(tensor.shape, spec.shape, strict=True):
        expected = wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size)
        if size != expected:
            raise _bad(f"{spec.name}: {size} in its shape, expected {expected}")


def _read_numbers(tensor: Tensor) -> np.ndarray:
    try:
        array = np.array(tensor.data)
    except (ValueError, OverflowError):  # ragged, or too deep
        raise _bad(f"{tensor.name}: data is not an array") from None
    n_numbers = math.prod(tensor.shape)
    if array.dtype.kind not in "iuf" or array.size != n_numbers:
        raise _bad(f"{tensor.name}: data is not {n_numbers} numbers")
    with np.errstate(over="ignore"):  # the check for finite numbers follows
        return array.astype(np.float32).reshape(tensor.shape)


def _read_outputs(request: InferenceRequest, names: Sequence[str]) -> dict[str, bool]:
    as_bytes = bool(request.parameters and request.parameters.binary_data_output)
    chosen = {}
    for output in request.outputs or map(RequestedOutput, names):
        if output.name not in names:
            raise _bad(f"expected outputs among {', '.join(names)}")
        own = None if output.parameters is None else output.parameters.binary_data
        chosen[output.name] = as_bytes if own is None else own
    return chosen


def write_response(
    model: str, job: InferenceJob, arrays: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a response; raw tensors follow the JSON. Raises Refusal."""
    tensors, raw = [], []
    for name, as_bytes in job.outputs.items():
        array = np.ascontiguousarray(arrays[name], "<f4")
        if not np.isfinite(array).all():
            raise _bad(f"the network overflows at these inputs: {name} is not finite")
        tensor = Tensor(name, list(array.shape), DATATYPE)
        if as_bytes:
            raw.append(array.tobytes())
            tensors.append(replace(tensor, parameters=Parameters(array.nbytes)))
        else:
            tensors.append(replace(tensor, data=array.ravel().tolist()))
    response = InferenceResponse(model, tensors, job.id)
    head = _RESPONSE.dump_json(response, exclude_none=True)
    if not raw:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *raw]), headers


def _bad(cause: str) -> Refusal:
    return Refusal(RefusalReason.BAD_REQUEST, cause)
