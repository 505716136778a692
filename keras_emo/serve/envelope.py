"""Around every request: a number, who may ask, a line in the log, counts, and a way to close."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_emo.serve.log import log, log_failure
from keras_emo.serve.metrics import Metrics
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.security import HEADERS, check_request
from keras_emo.serve.settings import Settings

REASON = "keras_emo.reason"  # in a request's scope: why it was refused
NUMBER = "keras_emo.number"
_LINGER_S, _LINGER_BYTES = 0.5, 1 << 20


class _Exchange:
    """One request: how much of it was read, what was answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self._receive, self._send = scope, receive, send
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self._unread = length != "0" or "transfer-encoding" in headers
        self._waits = "expect" in headers  # the client sends its body once it is told to
        self.status: int | None = None
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers["X-Request-ID"] = self.scope[NUMBER]
            if not self.scope["path"].startswith("/assets"):
                headers.setdefault("Cache-Control", "no-store")
            if self._unread:  # what follows on this connection is the rest of a body
                headers["Connection"] = "close"
                await self._linger()
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def _linger(self) -> None:
        """Hear some of the rest: a client that is cut off while it sends may miss the answer."""
        n_bytes = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while self._unread and not self._waits and n_bytes < _LINGER_BYTES:
                    n_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


class Envelope:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics):
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.monotonic()
        scope[NUMBER] = uuid.uuid4().hex
        exchange = _Exchange(scope, receive, send)
        try:
            await self._handle(scope, exchange)
        finally:
            self._note(scope, exchange.status, time.monotonic() - start_s)

    async def _handle(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            check_request(self._settings, scope["path"], Headers(scope=scope))
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await answer_refusal(scope, refusal)(scope, exchange.receive, exchange.send)
        except Exception as e:  # a defect, which the application has answered
            log_failure("defect", e, request=scope[NUMBER])
            if not exchange.complete:
                raise

    def _note(self, scope: Scope, status: int | None, spent_s: float) -> None:
        route, reason = name_route(scope), scope.get(REASON)
        code = 499 if status is None else status
        self._metrics.requests.labels(route, str(code)).inc()
        if reason is not None:
            self._metrics.rejected.labels(reason).inc()
        if route.startswith(("/v1/", "/v2/models")):
            self._metrics.observe("total", spent_s)
        fields: dict[str, Any] = {"reason": reason} if reason is not None else {}
        fields |= {"route": route, "method": name_method(scope), "code": code}
        log("request", request=scope[NUMBER], **fields, spent_s=round(spent_s, 4))


def name_route(scope: Scope) -> str:
    """The route's pattern, never what the client wrote."""
    return getattr(scope.get("route"), "path", None) or "other"


def name_method(scope: Scope) -> str:
    """The method, if it is one of those that exist."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    return scope["method"] if scope["method"] in known else "other"


def answer_refusal(scope: Scope, refusal: Refusal) -> JSONResponse:
    """The answer that says why there is none."""
    scope[REASON] = str(refusal.reason)
    return JSONResponse(refusal.to_dict(scope["path"]), refusal.status, refusal.headers)
