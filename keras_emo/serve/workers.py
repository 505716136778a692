"""Who does the work: sandboxed decoders, and the network in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.serve.monitoring import Metrics
from keras_emo.serve.settings import Settings

Predict = Callable[[Sequence[ClipInputs]], np.ndarray]
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


@dataclass(frozen=True)
class _Job:
    clips: Sequence[ClipInputs]
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Runs the network in one thread; clips that arrive close together share a batch.

    predict: probabilities (n, 7) of n clips. A batch ends with the request that reaches
    settings.max_batch. on_batch: called with the size of every batch.
    """

    def __init__(self, predict: Predict, settings: Settings, on_batch: Callable[[int], None]):
        self._predict, self._settings, self._on_batch = predict, settings, on_batch
        self._thread = ThreadPoolExecutor(1, "network")
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to process jobs; called within a running loop."""
        self._task = asyncio.create_task(self._process())

    async def stop(self) -> None:
        """Stop at once, without finishing the jobs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False)

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in the network's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def predict(self, clips: Sequence[ClipInputs]) -> np.ndarray:
        """Probabilities float32 (n_clips, 7)."""
        job = _Job(clips, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.result

    async def _process(self) -> None:
        while True:
            jobs = await self._collect()
            clips = [clip for job in jobs for clip in job.clips]
            self._on_batch(len(clips))
            try:
                probs = await self.run(partial(self._predict, clips))
            except Exception as e:  # each request of the batch fails, the next batch runs
                for job in jobs:
                    if not job.result.done():
                        job.result.set_exception(e)
                continue
            start = 0
            for job in jobs:
                end = start + len(job.clips)
                if not job.result.done():  # the request may have been cancelled
                    job.result.set_result(probs[start:end])
                start = end

    async def _collect(self) -> list[_Job]:
        """The next job and those that arrive soon after it, until the batch is full."""
        jobs = [await self._jobs.get()]
        end_s = asyncio.get_running_loop().time() + self._settings.batch_wait_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end_s):
                while sum(len(job.clips) for job in jobs) < self._settings.max_batch:
                    jobs.append(await self._jobs.get())
        return [job for job in jobs if not job.result.done()]
