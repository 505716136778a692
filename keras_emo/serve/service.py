"""What the service does for a request, and whether it takes any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_emo.errors import ClipError, EmoError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import Batch
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.model import Model
from keras_emo.inference.predict import (
    TimelineBuilder,
    check_predicted,
    make_prediction,
    split_modalities,
)
from keras_emo.serve.admission import Admission
from keras_emo.serve.batching import Batcher
from keras_emo.serve.decoders import Decoder, DecoderPool
from keras_emo.serve.log import log
from keras_emo.serve.metrics import Metrics
from keras_emo.serve.refusals import Refusal, Refused
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import Upload, UploadFolder

T = TypeVar("T")
_LEAST_S = 0.05  # with less, the decoder would only be killed for being late


@dataclass(frozen=True)
class Asked:
    """How a recording is to be answered. window_s, hop_s: None for the defaults."""

    timeline: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    parts: bool = False


class Service:
    """A bundle's network, its decoders and the rules of who gets in.

    failure: why it could not start, once it has tried.
    """

    def __init__(
        self, bundle: Bundle, settings: Settings, make_decoder: Callable[[], Decoder],
        folder: UploadFolder,
    ):  # fmt: skip
        self.bundle, self.settings, self.folder = bundle, settings, folder
        self.metrics = Metrics()
        self.model = Model(bundle)
        self.decoders = DecoderPool(make_decoder, settings.workers, self.metrics)
        self.admission = Admission(settings)
        self.batcher = Batcher(
            self.model.compute_probs, settings.max_batch, settings.batch_wait_s,
            self.metrics.batch.observe,
        )  # fmt: skip
        self.metrics.waiting.set_function(self._count_waiting)
        self.failure: EmoError | None = None
        self.ready = self.draining = False
        self._warming: asyncio.Task[None] | None = None

    def _count_waiting(self) -> int:
        return max(0, self.admission.n_inside - self.decoders.n_busy)

    async def start(self) -> None:
        """Warm up behind the scenes; ``ready`` turns true, or ``failure`` says why not."""
        self.batcher.start()
        self._warming = asyncio.create_task(self._warm_up())

    async def _warm_up(self) -> None:
        start_s = time.monotonic()
        try:
            await self.batcher.run(self.model.warm_up)
            await self.decoders.start()
        except EmoError as e:
            self.failure = e
            return
        self.ready = True
        self.metrics.ready.set(not self.draining)
        log("ready", spent_s=round(time.monotonic() - start_s, 2))

    async def stop(self) -> None:
        """Let go of everything."""
        if self._warming is not None:
            self._warming.cancel()
        await self.batcher.stop()
        self.decoders.stop()
        self.folder.close()

    def drain(self) -> None:
        """Take no further request."""
        self.draining = True
        self.metrics.ready.set(0)

    def check_open(self) -> None:
        """Raise Refusal unless requests are taken."""
        if self.draining:
            raise Refusal(Refused.DRAINING, "the service is stopping", 5)
        if not self.ready:
            raise Refusal(Refused.NOT_READY, "the service is starting", 1)

    @contextmanager
    def enter(self):
        """Accept a request for as long as the block lasts. Raises Refusal."""
        self.check_open()
        with self.admission.enter():
            yield

    async def answer(
        self, upload: Upload, asked: Asked, is_gone: Callable[[], Awaitable[bool]]
    ) -> dict[str, Any]:
        """What predict writes for the file, as JSON. Raises EmoError, Refusal.

        is_gone: whether nobody waits any more; asked once there is a decoder.
        """
        end_s = time.monotonic() + self.settings.timeout_s
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                if asked.timeline:
                    answer = await self._decode(
                        lambda d: _predict_timeline(d, self.bundle, upload.path, asked, end_s),
                        end_s,
                        is_gone,
                    )
                else:
                    inputs = await self._decode(
                        lambda d: d.prepare(upload.path, wall_s=end_s - time.monotonic()),
                        end_s,
                        is_gone,
                    )
                    answer = await self._answer_clip(upload.path, inputs, asked.parts)
        except TimeoutError:
            cause = f"not done after {self.settings.timeout_s:g} s"
            raise ClipError(upload.path, Reason.TIMEOUT, cause) from None
        answer["path"] = upload.name
        return answer

    async def _decode(
        self, work: Callable[[Decoder], T], end_s: float, is_gone: Callable[[], Awaitable[bool]]
    ) -> T:
        """Run work with a decoder; what waiting and working took is measured."""
        asked_s = time.monotonic()
        begun_s = asked_s

        async def begin() -> None:
            nonlocal begun_s
            begun_s = time.monotonic()
            self.metrics.observe("wait", begun_s - asked_s)
            if await is_gone():
                raise Refusal(Refused.DISCONNECTED, "the client has gone")
            if end_s - time.monotonic() < _LEAST_S:
                raise TimeoutError

        result = await self.decoders.run(work, begin)
        spent_s = time.monotonic() - begun_s
        self.metrics.observe("decode", spent_s)
        self.admission.learn(spent_s)
        return result

    async def _answer_clip(self, path: Path, inputs: ClipInputs, parts: bool) -> dict[str, Any]:
        start_s = time.monotonic()
        alone = split_modalities(inputs, self.bundle.inputs) if parts else {}
        probs, *rest = await self.batcher.answer([inputs, *alone.values()])
        self.metrics.observe("network", time.monotonic() - start_s)
        return make_prediction(path, inputs, probs, dict(zip(alone, rest, strict=True))).to_dict()

    async def infer(self, work: Callable[[Callable[[Batch], dict[str, np.ndarray]]], T]) -> T:
        """Call work in the network's thread, with the network. Raises ClipError (timeout)."""
        start_s = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                result = await self.batcher.run(lambda: work(self.model.run))
        except TimeoutError:
            cause = f"not done after {self.settings.timeout_s:g} s"
            raise ClipError("tensors", Reason.TIMEOUT, cause) from None
        self.metrics.observe("network", time.monotonic() - start_s)
        return result


def _predict_timeline(
    decoder: Decoder, bundle: Bundle, path: Path, asked: Asked, end_s: float
) -> dict[str, Any]:
    """The object that predict --timeline writes as JSON. Raises ClipError."""
    wall_s = end_s - time.monotonic()
    stream = decoder.windows(path, asked.window_s, asked.hop_s, parts=asked.parts, wall_s=wall_s)
    builder = TimelineBuilder(stream, bundle)
    for window in stream:
        builder.add(window)
    timeline = builder.build()
    check_predicted(timeline)
    return timeline.to_dict()
