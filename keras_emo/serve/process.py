"""The process of a service: its socket, its signals, how it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_emo.errors import EnvironmentFailure, ExitCode, Reason
from keras_emo.inference.bundle import Bundle
from keras_emo.sandbox.limits import Limits
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.serve.app import create_app
from keras_emo.serve.decoders import Decoder
from keras_emo.serve.log import configure_log, log
from keras_emo.serve.service import Service
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import UploadFolder

_FLUSH_S = 5  # for the last answers to reach their clients
_BACKLOG = 256


def serve(
    bundle: Bundle, settings: Settings, make_decoder: Callable[[], Decoder] | None = None
) -> int:
    """Answer requests until SIGTERM or SIGINT; returns the exit code.

    The first signal ends the accepting, the second one everything. Raises EmoError where the
    service cannot start.
    """
    configure_log(sys.stderr)
    limits = Limits(wall_s=settings.timeout_s)
    make: Callable[[], Decoder] = make_decoder or (lambda: Sandbox(bundle, limits, warm=True))
    listener = listen(settings)
    with listener:
        folder = UploadFolder()
        try:
            service = Service(bundle, settings, make, folder)
            server = Server(service, settings)
            print(f"listening on {tell_address(listener)}", flush=True)
            server.run(sockets=[listener])
        finally:
            folder.close()
    if service.failure is not None:
        raise service.failure
    return server.finish()


def listen(settings: Settings) -> socket.socket:
    """A socket that listens. Raises EnvironmentFailure."""
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as e:
        name = f"{settings.host}:{settings.port}"
        raise EnvironmentFailure(name, Reason.CANNOT_LISTEN, e.strerror or str(e)) from None


def tell_address(listener: socket.socket) -> str:
    """The address in a browser's form."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Connection(H11Protocol):
    """A connection that is closed unless the head of a request, once begun, comes in time."""

    header_s = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.header_s, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """uvicorn, but it goes on accepting connections, to say no, until the last answer is out."""

    def __init__(self, service: Service, settings: Settings):
        protocol = type("Protocol", (Connection,), {"header_s": settings.header_s})
        super().__init__(
            uvicorn.Config(
                create_app(service),
                http=protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=settings.header_bytes,
                limit_concurrency=settings.max_connections,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=_FLUSH_S,
                backlog=_BACKLOG,
            )
        )
        self._service, self._settings = service, settings
        self._stop_s: float | None = None  # when the draining ends
        self._code: int = ExitCode.OK

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_s is None:
            self._stop_s = time.monotonic() + self._settings.drain_s
            self._service.drain()
            return
        self._service.folder.close()
        os._exit(128 + sig)  # the decoders die with their parent

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None:
            return True
        if self._stop_s is not None:
            n_inside = self._service.admission.n_inside
            if n_inside and time.monotonic() < self._stop_s:
                return await super().on_tick(counter)
            if n_inside:  # they are cut off
                self._code, self.config.timeout_graceful_shutdown = ExitCode.PARTIAL, 1
            log("stopping", unfinished=n_inside)
            return True
        return await super().on_tick(counter)

    def finish(self) -> int:
        """The exit code; does not return where decoders are still at work."""
        if self._service.decoders.n_busy:  # nobody waits for them, and Python would
            sys.stdout.flush()
            os._exit(self._code)
        return self._code
