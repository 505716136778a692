"""The HTTP application: POST /v1/predict, metrics, API documentation, the page and errors."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from keras_emo import __version__
from keras_emo.errors import EmoError, Reason
from keras_emo.inference.predict import choose_lengths
from keras_emo.inference.results import Prediction, Timeline
from keras_emo.serve import protocol
from keras_emo.serve.middleware import RequestMiddleware, make_response
from keras_emo.serve.refusals import ErrorResponse, Refusal, RefusalReason
from keras_emo.serve.service import PredictOptions, Service
from keras_emo.serve.uploads import FIELD, check_length

STATIC = Path(__file__).parent / "static"
SWAGGER = Path(__file__).parent / "swagger"
_HTTP_REASONS = {404: RefusalReason.UNKNOWN_ROUTE, 405: RefusalReason.BAD_METHOD}
_FORM = {
    "type": "object",
    "required": [FIELD],
    "additionalProperties": False,
    "properties": {FIELD: {"type": "string", "format": "binary"}},
}
_BODY = {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
_ERRORS: dict[int | str, dict[str, Any]] = {c: {"model": ErrorResponse} for c in ("4XX", "5XX")}
_Seconds = Annotated[float | None, Query(gt=0)]


def create_app(service: Service, static: Path = STATIC) -> ASGIApp:
    """The application of a service; static: the folder of the page, if it was built."""

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    security = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))]
    app = FastAPI(
        title="keras_emo",
        version=__version__,
        description="Predicts which of seven emotions a face and a voice express.",
        lifespan=run,
        docs_url=None,
        redoc_url=None,
        dependencies=security if service.settings.api_key is not None else None,
    )
    for kind in (Refusal, EmoError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle_error)
    app.include_router(create_router(service))
    app.include_router(protocol.create_router(service))
    _add_docs(app)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    if (static / "index.html").is_file():
        _add_page(app, static)
    return RequestMiddleware(app, service.settings, service.metrics)


def create_router(service: Service) -> APIRouter:
    """The route of predictions."""
    router = APIRouter(tags=["recordings"])

    @router.post(
        "/v1/predict",
        responses={200: {"model": Prediction | Timeline}, **_ERRORS},
        openapi_extra={"requestBody": _BODY},
        summary="Predict the emotion of a recording",
    )
    async def predict(
        request: Request,
        timeline: Annotated[bool, Query(description="predict overlapping windows")] = False,
        window_s: _Seconds = None,
        hop_s: _Seconds = None,
        parts: Annotated[bool, Query(description="also from face and voice alone")] = False,
    ) -> JSONResponse:
        options = PredictOptions(timeline, window_s, hop_s, parts)
        if timeline:
            choose_lengths(service.bundle, window_s, hop_s)
        elif window_s is not None or hop_s is not None:
            raise Refusal(Reason.BAD_CONFIG, "window_s and hop_s need timeline=true")
        check_length(request, service.settings.max_upload_bytes)
        with service.enter():
            start_s = time.monotonic()
            async with service.folder.receive(request, service.settings) as upload:
                service.metrics.observe("upload", time.monotonic() - start_s)
                result = await service.predict(upload, options, request.is_disconnected)
                return JSONResponse(result.to_dict())

    return router


def _add_docs(app: FastAPI) -> None:
    """Swagger UI at /docs, with every file from this host."""
    spec = importlib.util.find_spec("fastapi_offline")  # it ships the files; it is not imported
    assert spec is not None
    assert spec.origin is not None
    assets = Path(spec.origin).parent / "static"
    app.add_route("/docs", _serve_file(SWAGGER / "index.html"), include_in_schema=False)
    app.add_route("/docs/start.js", _serve_file(SWAGGER / "start.js"), include_in_schema=False)
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs")


def _add_page(app: FastAPI, static: Path) -> None:
    """Each file and folder at its own path; a mount at / would turn wrong methods into 404."""
    app.add_route("/", _serve_file(static / "index.html"), include_in_schema=False)
    for entry in sorted(static.iterdir()):
        if entry.is_dir():
            app.mount(f"/{entry.name}", StaticFiles(directory=entry), name=entry.name)
        else:
            app.add_route(f"/{entry.name}", _serve_file(entry), include_in_schema=False)


def _serve_file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return FileResponse(path)

    return serve


async def _handle_error(request: Request, error: Exception) -> Response:
    refusal = Refusal(RefusalReason.INTERNAL, "an internal error; see the log of the service")
    if isinstance(error, Refusal):
        refusal = error
    elif isinstance(error, EmoError):
        refusal = Refusal.from_error(error)
    elif isinstance(error, RequestValidationError):
        texts = [f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()[:5]]
        refusal = Refusal(RefusalReason.BAD_REQUEST, "; ".join(texts))
    elif isinstance(error, HTTPException):
        reason = _HTTP_REASONS.get(error.status_code, RefusalReason.BAD_REQUEST)
        refusal = Refusal(reason, error.detail, headers=error.headers)
    return make_response(request.scope, refusal)
