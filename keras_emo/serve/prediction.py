"""POST /v1/predict: a recording to an answer."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from keras_emo.errors import Reason
from keras_emo.inference.predict import choose_lengths
from keras_emo.serve import schemas
from keras_emo.serve.body import check_length
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.service import Asked, Service

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
_CODES = {
    400: "not a form with one file, or a setting out of range",
    401: "the API key is missing or wrong",
    403: "asked by another site's page",
    408: "the upload stalls",
    413: "the upload is too long",
    415: "not a recording, or one of a kind that is not read",
    422: "a recording that cannot be answered",
    500: "the service failed",
    502: "the decoder died of the recording",
    503: "too much to do, starting or stopping; Retry-After says when to come again",
    504: "not done in time",
    507: "no space for the upload",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Error, "description": text} for code, text in _CODES.items()
}
Seconds = Annotated[float | None, Query(gt=0)]


def create_router(service: Service) -> APIRouter:
    """The route, for a service."""
    router = APIRouter(tags=["recordings"])

    @router.post(
        "/v1/predict",
        responses={200: {"model": schemas.ClipAnswer | schemas.Timeline}, **ERRORS},
        openapi_extra=_FORM,
        summary="Answer a recording",
    )
    async def predict(
        request: Request,
        timeline: Annotated[bool, Query(description="answer overlapping windows")] = False,
        window_s: Seconds = None,
        hop_s: Seconds = None,
        parts: Annotated[bool, Query(description="also from face and voice alone")] = False,
    ) -> JSONResponse:
        asked = Asked(timeline, window_s, hop_s, parts)
        if timeline:
            choose_lengths(service.bundle, window_s, hop_s)
        elif window_s is not None or hop_s is not None:
            raise Refusal(Reason.BAD_CONFIG, "window_s and hop_s go with timeline=true")
        check_length(request, service.settings.max_upload_bytes)
        with service.enter():
            start_s = time.monotonic()
            async with service.folder.receive(request, service.settings) as upload:
                service.metrics.observe("upload", time.monotonic() - start_s)
                return JSONResponse(await service.answer(upload, asked, request.is_disconnected))

    return router
