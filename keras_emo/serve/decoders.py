"""Sandboxed decoders, each for one recording at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keras_emo.errors import ClipError, Reason
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.serve.monitoring import Metrics

T = TypeVar("T")


class DecoderPool:
    """Decoders with a thread for each; requests are served in order of arrival.

    make: returns a decoder that is ready; raises EnvironmentFailure.
    """

    def __init__(self, make: Callable[[], Sandbox], size: int, metrics: Metrics):
        self._make, self.size, self._metrics = make, size, metrics
        self._threads = ThreadPoolExecutor(size, "decoder")
        self._idle: asyncio.Queue[Sandbox] = asyncio.Queue()
        self.n_busy = 0

    async def start(self) -> None:
        """Make all decoders. Raises EmoError if one does not start."""
        loop = asyncio.get_running_loop()
        for _ in range(self.size):
            self._idle.put_nowait(await loop.run_in_executor(self._threads, self._make))

    def stop(self) -> None:
        """End the idle decoders; the others end with the process."""
        while not self._idle.empty():
            self._idle.get_nowait().close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[Sandbox], T], begin: Callable[[], Awaitable[None]]) -> T:
        """Wait for a free decoder, await begin, then call work with the decoder in its thread.

        If the caller is cancelled, the decoder stays busy until work is done. Raises what work
        and begin raise.
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
        done.add_done_callback(lambda future: self._release(decoder, future))
        return await asyncio.shield(done)

    def _release(self, decoder: Sandbox, future: asyncio.Future) -> None:
        self.n_busy -= 1
        self._idle.put_nowait(decoder)
        error = None if future.cancelled() else future.exception()
        crashed = (Reason.DECODER_CRASHED, Reason.TIMEOUT)
        if isinstance(error, ClipError) and error.reason in crashed:
            self._metrics.crashes.inc()
