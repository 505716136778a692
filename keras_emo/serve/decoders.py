"""Sandboxed decoders, each for one recording at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.predict import WindowStream
from keras_emo.serve.metrics import Metrics

T = TypeVar("T")


class Decoder(Protocol):
    """A keras_emo.sandbox.sandbox.Sandbox, as far as it is needed here."""

    def prepare(self, path: Path, wall_s: float | None = None) -> ClipInputs: ...

    def windows(
        self,
        path: Path,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
        wall_s: float | None = None,
    ) -> WindowStream: ...

    def close(self) -> None: ...


class DecoderPool:
    """Decoders and a thread for each; whoever asks first is served first.

    make: a decoder that is ready; raises EnvironmentFailure.
    """

    def __init__(self, make: Callable[[], Decoder], size: int, metrics: Metrics):
        self._make, self.size, self._metrics = make, size, metrics
        self._threads = ThreadPoolExecutor(size, "decoder")
        self._all: list[Decoder] = []
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self.n_busy = 0

    async def start(self) -> None:
        """Make all of them. Raises EmoError where one does not start."""
        loop = asyncio.get_running_loop()
        for _ in range(self.size):
            decoder = await loop.run_in_executor(self._threads, self._make)
            self._all.append(decoder)
            self._idle.put_nowait(decoder)

    def stop(self) -> None:
        """End those that are idle; the others end with the process."""
        while not self._idle.empty():
            self._idle.get_nowait().close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[Decoder], T], begin: Callable[[], Awaitable[None]]) -> T:
        """Call work with a decoder in its thread, once one is free and begin has been called.

        Given up on, it still keeps its decoder until it is done. Raises what they raise.
        """
        decoder = await self._idle.get()
        try:
            await begin()
        except BaseException:
            self._idle.put_nowait(decoder)
            raise
        self.n_busy += 1
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._threads, work, decoder)
        done.add_done_callback(lambda future: self._give_back(decoder, future))
        return await asyncio.shield(done)

    def _give_back(self, decoder: Decoder, future: asyncio.Future) -> None:
        self.n_busy -= 1
        self._idle.put_nowait(decoder)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ClipError) and error.reason in (
            Reason.DECODER_CRASHED,
            Reason.TIMEOUT,
        ):
            self._metrics.crashes.inc()
