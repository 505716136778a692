"""Prepared clips of several requests through the network at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from keras_emo.features.clip import ClipInputs

Answer = Callable[[Sequence[ClipInputs]], np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class _Order:
    clips: Sequence[ClipInputs]
    result: asyncio.Future[np.ndarray]


class Batcher:
    """One thread in which the network runs; clips that come close together run together.

    answer: probabilities (n, 7) of n clips. most: clips a batch, unless one request brings
    more. wait_s: for others to join the first. note: told the size of every batch.
    """

    def __init__(self, answer: Answer, most: int, wait_s: float, note: Callable[[int], None]):
        self._answer, self._most, self._wait_s, self._note = answer, most, wait_s, note
        self._thread = ThreadPoolExecutor(1, "network")
        self._orders: asyncio.Queue[_Order] = asyncio.Queue()
        self._left: _Order | None = None  # it would have been one too many
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take orders; within a running loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Finish nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False)

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in the network's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def answer(self, clips: Sequence[ClipInputs]) -> np.ndarray:
        """Probabilities float32 (n_clips, 7)."""
        order = _Order(clips, asyncio.get_running_loop().create_future())
        self._orders.put_nowait(order)
        return await order.result

    async def _work(self) -> None:
        while True:
            orders = await self._gather()
            clips = [clip for order in orders for clip in order.clips]
            self._note(len(clips))
            try:
                probs = await self.run(lambda clips=clips: self._answer(clips))  # type: ignore[misc]
            except Exception as e:  # of the network; each request says so, the next ones go on
                for order in orders:
                    if not order.result.done():
                        order.result.set_exception(e)
                continue
            start = 0
            for order in orders:
                end = start + len(order.clips)
                if not order.result.done():  # its request may have given up
                    order.result.set_result(probs[start:end])
                start = end

    async def _gather(self) -> list[_Order]:
        """The next order, and those that fit in and come within wait_s."""
        orders = [self._left or await self._orders.get()]
        self._left, n_clips = None, len(orders[0].clips)
        end_s = asyncio.get_running_loop().time() + self._wait_s
        while n_clips < self._most:
            try:
                async with asyncio.timeout_at(end_s):
                    order = await self._orders.get()
            except TimeoutError:
                break
            if n_clips + len(order.clips) > self._most:
                self._left = order
                break
            orders.append(order)
            n_clips += len(order.clips)
        return [order for order in orders if not order.result.done()]
