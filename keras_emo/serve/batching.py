"""Prepared clips of several requests in one run of the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from keras_emo.features.clip import ClipInputs

Predict = Callable[[Sequence[ClipInputs]], np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class _Job:
    clips: Sequence[ClipInputs]
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Runs the network in one thread; clips that arrive close together share a batch.

    predict: probabilities (n, 7) of n clips. max_clips: a batch, unless one request has more.
    wait_s: for others to join the first. on_batch: called with the size of every batch.
    """

    def __init__(
        self, predict: Predict, max_clips: int, wait_s: float, on_batch: Callable[[int], None]
    ):
        self._predict, self._max_clips, self._wait_s = predict, max_clips, wait_s
        self._on_batch = on_batch
        self._thread = ThreadPoolExecutor(1, "network")
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._postponed: _Job | None = None  # it did not fit in the last batch
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
        """The next job, and those that fit in and arrive within wait_s."""
        jobs = [self._postponed or await self._jobs.get()]
        self._postponed, n_clips = None, len(jobs[0].clips)
        end_s = asyncio.get_running_loop().time() + self._wait_s
        while n_clips < self._max_clips:
            try:
                async with asyncio.timeout_at(end_s):
                    job = await self._jobs.get()
            except TimeoutError:
                break
            if n_clips + len(job.clips) > self._max_clips:
                self._postponed = job
                break
            jobs.append(job)
            n_clips += len(job.clips)
        return [job for job in jobs if not job.result.done()]
