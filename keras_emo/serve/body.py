"""A request's body as it comes: counted, and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from keras_emo.serve.refusals import Refusal, Refused
from keras_emo.serve.settings import Settings


async def read_body(request: Request, settings: Settings, limit: int) -> AsyncIterator[bytes]:
    """Blocks of the body, of at most limit bytes in all.

    Raises Refusal: upload_limit, slow_upload where it stalls or trickles, disconnected.
    """
    check_length(request, limit)
    start_s, n_bytes = time.monotonic(), 0
    while True:
        allowed_s = settings.stall_s + n_bytes / settings.min_rate
        left_s = min(settings.stall_s, start_s + allowed_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                message = await request.receive()
        except TimeoutError:
            cause = f"{n_bytes} bytes came in {time.monotonic() - start_s:.1f} s"
            raise Refusal(Refused.SLOW_UPLOAD, cause) from None
        if message["type"] == "http.disconnect":
            raise Refusal(Refused.DISCONNECTED, "the client has gone")
        block = message.get("body", b"")
        n_bytes += len(block)
        if n_bytes > limit:
            raise _too_much(limit)
        yield block
        if not message.get("more_body", False):
            return


def check_length(request: Request, limit: int) -> None:
    """Raise Refusal for a body that says it is too long, before any of it is read."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_much(limit)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(Refused.BAD_REQUEST, "compressed bodies are not taken")


def _too_much(limit: int) -> Refusal:
    return Refusal(Refused.UPLOAD_LIMIT, f"more than {limit} bytes")
