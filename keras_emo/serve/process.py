"""The process of a service: socket, signals, graceful shutdown."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_emo.errors import EnvironmentFailure, ExitCode, Reason, describe_error
from keras_emo.inference.bundle import Bundle
from keras_emo.sandbox.limits import Limits
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.serve.app import create_app
from keras_emo.serve.monitoring import configure_log, log
from keras_emo.serve.service import Service
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import UploadFolder

_FLUSH_S = 5  # for the last responses to reach their clients
_BACKLOG = 256


def serve(bundle: Bundle, settings: Settings) -> int:
    """Handle requests until SIGTERM or SIGINT; returns the exit code.

    The first signal starts a graceful shutdown, the second one ends the process at once. Raises
    EmoError if the service cannot start.
    """
    configure_log(sys.stderr)
    limits = Limits(wall_s=settings.timeout_s)
    listener = listen(settings)
    with listener:
        folder = UploadFolder()
        try:
            service = Service(bundle, settings, partial(Sandbox, bundle, limits, warm=True), folder)
            server = Server(service, settings)
            print(f"listening on {format_address(listener)}", flush=True)
            server.run(sockets=[listener])
        finally:
            folder.close()
    if service.failure is not None:
        raise service.failure
    if service.decoders.n_busy:  # Python would wait for their threads
        sys.stdout.flush()
        os._exit(server.code)
    return server.code


def listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises EnvironmentFailure."""
    address = settings.host, settings.port
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as e:
        name = f"{settings.host}:{settings.port}"
        raise EnvironmentFailure(name, Reason.CANNOT_LISTEN, describe_error(e)) from None


def format_address(listener: socket.socket) -> str:
    """The address as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Connection(H11Protocol):
    """A connection that is closed unless the head of each request arrives in time.

    uvicorn has no such limit: its keep-alive timeout ends with the first byte of a head.
    """

    header_s = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._clear_deadline()

    def _set_deadline(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._clear_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_s, self.transport.close)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A uvicorn server that shuts down gracefully.

    uvicorn closes its socket on the first signal. This one keeps it open until the last active
    request is done, so that clients and load balancers get status 503 instead of an error.
    """

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
        self._stop_s: float | None = None  # when the drain ends
        self.code: int = ExitCode.OK

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
        n_active = self._service.n_active
        if self._stop_s is None or (n_active and time.monotonic() < self._stop_s):
            return await super().on_tick(counter)
        if n_active:  # they are cut off
            self.code, self.config.timeout_graceful_shutdown = ExitCode.PARTIAL, 1
        log("stopping", unfinished=n_active)
        return True
