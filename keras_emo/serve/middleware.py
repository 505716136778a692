"""Around every request: its number, authentication, security headers, a log line, counters.

Plain ASGI, so that a request is checked before any of its body is read.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_emo.serve.monitoring import Metrics, log
from keras_emo.serve.refusals import Refusal, RefusalReason
from keras_emo.serve.settings import Settings, is_loopback

OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
GUARDED = ("/v1/", "/v2", "/metrics")
# The page loads nothing from another host; media that it makes itself are blobs.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REASON = "keras_emo.reason"  # in a request's scope: why it was refused
NUMBER = "keras_emo.number"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_LINGER_S, _LINGER_BYTES = 0.5, 1 << 20


def check_request(settings: Settings, path: str, headers: Mapping[str, str]) -> None:
    """Raise Refusal for a request without the key, or sent by the page of another site.

    Without a key only the names of this machine are accepted as the host: a foreign page whose
    own name resolves to this machine (DNS rebinding) is refused as well.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if settings.api_key is None and not is_loopback(_split(f"//{host}").hostname or ""):
        raise Refusal(RefusalReason.FORBIDDEN, "this service accepts requests to localhost only")
    if origin is not None and (_split(origin).netloc or None) != host:
        raise Refusal(RefusalReason.FORBIDDEN, "cross-site requests are not allowed")
    if settings.api_key is None or path in OPEN_PATHS or not path.startswith(GUARDED):
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
    if not compare_digest(given.strip().encode(), settings.api_key.encode()):
        raise Refusal(RefusalReason.UNAUTHORIZED, "the API key is missing or wrong")


def _split(url: str) -> SplitResult:
    """The parts of a URL, all of them empty if it is malformed."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


class _Exchange:
    """One request and its response: whether the body was read, what was sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self._receive, self._send = scope, receive, send
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self._unread = length != "0" or "transfer-encoding" in headers
        self._expects = "expect" in headers  # the client waits for permission to send its body
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
            headers.update(HEADERS)
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
        """Read some of the rest: a client cut off while sending may miss the response."""
        n_bytes = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while self._unread and not self._expects and n_bytes < _LINGER_BYTES:
                    n_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


class RequestMiddleware:
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
            check_request(self._settings, scope["path"], Headers(scope=scope))
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await make_response(scope, refusal)(scope, exchange.receive, exchange.send)
        except Exception as e:  # a defect; the application has sent status 500
            log("defect", e, request=scope[NUMBER])
            if not exchange.complete:
                raise
        finally:
            self._record(scope, exchange.status, time.monotonic() - start_s)

    def _record(self, scope: Scope, status: int | None, spent_s: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"  # never the client's text
        method = scope["method"] if scope["method"] in METHODS else "other"
        code = 499 if status is None else status
        fields: dict[str, Any] = {"route": route, "method": method, "code": code}
        self._metrics.requests.labels(route, str(code)).inc()
        if (reason := scope.get(REASON)) is not None:
            self._metrics.rejected.labels(reason).inc()
            fields["reason"] = reason
        if route.startswith(("/v1/", "/v2/models")):
            self._metrics.observe("total", spent_s)
        log("request", request=scope[NUMBER], **fields, spent_s=round(spent_s, 4))


def make_response(scope: Scope, refusal: Refusal) -> JSONResponse:
    """The response to a refused request; its reason is kept for the log."""
    scope[REASON] = str(refusal.reason)
    return JSONResponse(refusal.to_dict(scope["path"]), refusal.status, refusal.headers)
