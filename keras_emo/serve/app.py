"""The HTTP application of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from keras_emo import __version__
from keras_emo.errors import EmoError
from keras_emo.serve import docs, inference, prediction
from keras_emo.serve.envelope import Envelope, answer_refusal
from keras_emo.serve.metrics import CONTENT_TYPE
from keras_emo.serve.refusals import Refusal, Refused, refuse
from keras_emo.serve.service import Service

STATIC = Path(__file__).parent / "static"
_HTTP_REASONS = {404: Refused.UNKNOWN_ROUTE, 405: Refused.BAD_METHOD}


def create_app(service: Service, static: Path = STATIC) -> ASGIApp:
    """Routes, error answers and the page, if it was built, around a service."""

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    keyed = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))]
    app = FastAPI(
        title="keras_emo",
        version=__version__,
        description="Which of seven emotions face and voice of a speaker express.",
        lifespan=live,
        docs_url=None,
        redoc_url=None,
        dependencies=keyed if service.settings.api_key is not None else None,
    )
    app.add_exception_handler(Refusal, _answer_error)
    app.add_exception_handler(EmoError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(Exception, _answer_error)
    app.include_router(prediction.create_router(service))
    app.include_router(inference.create_router(service))
    docs.add_docs(app)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.write(), media_type=CONTENT_TYPE)

    if (static / "index.html").is_file():
        _add_page(app, static)
    return Envelope(app, service.settings, service.metrics)


def _add_page(app: FastAPI, static: Path) -> None:
    """Every file and folder at its own path: at / a mount would take wrong methods to routes."""
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


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_refusal(request.scope, _explain(error))


def _explain(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, EmoError):
        return refuse(error)
    if isinstance(error, RequestValidationError):
        texts = [f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()[:5]]
        return Refusal(Refused.BAD_REQUEST, "; ".join(texts))
    if isinstance(error, HTTPException):
        reason = _HTTP_REASONS.get(error.status_code, Refused.BAD_REQUEST)
        return Refusal(reason, error.detail, headers=error.headers)
    return Refusal(Refused.INTERNAL, "the service failed; its log says where")
