"""The open inference protocol, version 2: health, metadata, tensors to tensors."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response

from keras_emo import __version__
from keras_emo.serve import schemas
from keras_emo.serve.body import read_body
from keras_emo.serve.protocol import (
    EXTENSIONS,
    HEADER_LENGTH,
    PLATFORM,
    read_request,
    read_specs,
    write_answer,
)
from keras_emo.serve.refusals import Refusal, Refused
from keras_emo.serve.service import Service

_REFUSED: dict[int | str, dict[str, Any]] = {"4XX": {"model": schemas.ProtocolError}}
_FAILED: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.ProtocolError} for code in (500, 503, 504)
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": schemas.describe_request()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
_RAW = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def create_router(service: Service) -> APIRouter:
    """The routes, for a service."""
    router = APIRouter(tags=["tensors"])
    info = service.bundle.info
    name = info["name"]
    named = PathParameter(json_schema_extra={"enum": [name]})
    inputs, outputs = read_specs(info["inputs"]), read_specs(info["outputs"])

    def check_name(model: str) -> None:
        if model != name:
            raise Refusal(Refused.UNKNOWN_MODEL, f"this service has the model {name}")

    @router.get("/v2", response_model=schemas.ServerMetadata, responses=_REFUSED)
    async def describe_server() -> Any:
        return {"name": "keras_emo", "version": __version__, "extensions": EXTENSIONS}

    @router.get("/v2/health/live", response_model=schemas.Live)
    async def live() -> Any:
        return {"live": True}

    @router.get(
        "/v2/health/ready",
        response_model=schemas.Ready,
        responses={503: {"model": schemas.Ready}},
    )
    async def ready() -> Any:
        is_ready = service.ready and not service.draining
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    @router.get("/v2/models/{model}", response_model=schemas.ModelMetadata, responses=_REFUSED)
    async def describe_model(model: str = named) -> Any:
        check_name(model)
        return {
            "name": name,
            "versions": ["1"],
            "platform": PLATFORM,
            "inputs": [spec.to_dict() for spec in inputs],
            "outputs": [spec.to_dict() for spec in outputs],
        }

    @router.get(
        "/v2/models/{model}/ready",
        response_model=schemas.ModelReady,
        responses={**_REFUSED, 503: {"model": schemas.ModelReady}},
    )
    async def model_ready(model: str = named) -> Any:
        check_name(model)
        is_ready = service.ready and not service.draining
        return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    @router.post(
        "/v2/models/{model}/infer",
        responses={
            200: {"model": schemas.InferenceAnswer, "content": _RAW},
            **_REFUSED,
            **_FAILED,
        },
        openapi_extra=_BODY,
        summary="Run the network on tensors",
    )
    async def infer(request: Request, model: str = named) -> Response:
        check_name(model)
        with service.enter():
            body = bytearray()
            async for block in read_body(
                request, service.settings, service.settings.max_tensor_bytes
            ):
                body += block
            length = request.headers.get(HEADER_LENGTH)

            def work(run) -> tuple[bytes, dict[str, str]]:
                asked = read_request(bytes(body), length, inputs, service.bundle.outputs)
                return write_answer(name, asked, run(asked.feed))

            content, headers = await service.infer(work)
            return Response(content, headers=headers)

    return router
