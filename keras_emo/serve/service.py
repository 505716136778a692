"""What the service does with a request, and whether it accepts requests at all."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from keras_emo.errors import ClipError, EmoError, Reason, translate_errors
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import Run
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.model import Model
from keras_emo.inference.predict import make_prediction, name_rows, read_timeline, split_modalities
from keras_emo.inference.results import Prediction, Timeline
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.serve.monitoring import Metrics, log
from keras_emo.serve.refusals import Refusal, RefusalReason
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import Upload, UploadFolder
from keras_emo.serve.workers import Batcher, DecoderPool

T = TypeVar("T")
IsGone = Callable[[], Awaitable[bool]]
_MIN_S = 0.05  # with less time left, the decoder would only be killed
_INITIAL_S = 0.5  # assumed for a decoder until one was measured
_WEIGHT = 0.1  # of the newest request in the running mean


@dataclass(frozen=True)
class PredictOptions:
    """How to predict a recording. window_s, hop_s: None for the defaults."""

    timeline: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    parts: bool = False


class Service:
    """A model, its decoders, and the requests in progress.

    failure: why it could not start, once it has tried.
    """

    def __init__(
        self, bundle: Bundle, settings: Settings, make_decoder: Callable[[], Sandbox],
        folder: UploadFolder,
    ):  # fmt: skip
        self.bundle, self.settings, self.folder = bundle, settings, folder
        self.metrics = Metrics()
        self.model = Model(bundle, providers=settings.providers)
        self.decoders = DecoderPool(make_decoder, settings.workers, self.metrics)
        self.batcher = Batcher(self.model.compute_probs, settings, self.metrics.batch.observe)
        self.metrics.waiting.set_function(lambda: max(0, self.n_active - self.decoders.n_busy))
        self.failure: EmoError | None = None
        self.ready = self.draining = False
        self.n_active = 0  # requests
        self._mean_s = _INITIAL_S
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Warm up in the background: ``ready`` becomes true, or ``failure`` is set."""
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
        """Release everything."""
        if self._warming is not None:
            self._warming.cancel()
        await self.batcher.stop()
        self.decoders.stop()
        self.folder.close()

    @property
    def accepts(self) -> bool:
        """Whether it accepts requests: it has started and is not shutting down."""
        return self.ready and not self.draining

    def drain(self) -> None:
        """Accept no further request."""
        self.draining = True
        self.metrics.ready.set(0)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Accept a request, which is active while the block runs. Raises Refusal."""
        if self.draining:
            raise Refusal(RefusalReason.DRAINING, "the service is shutting down", 5)
        if not self.ready:
            raise Refusal(RefusalReason.NOT_READY, "the service is starting", 1)
        if self.n_active >= self.settings.workers + self.settings.queue:
            cause = f"{self.n_active} requests are active or wait"
            raise Refusal(RefusalReason.OVERLOADED, cause, self._estimate_s())
        self.n_active += 1
        try:
            yield
        finally:
            self.n_active -= 1

    def _estimate_s(self) -> int:
        """Whole seconds until half of the active requests will be done, at least one."""
        half_s = self._mean_s * self.n_active / self.settings.workers / 2
        return max(1, math.ceil(min(half_s, self.settings.timeout_s)))

    async def predict(
        self, upload: Upload, options: PredictOptions, is_gone: IsGone
    ) -> Prediction | Timeline:
        """The result for an uploaded file, under the client's name. Raises EmoError, Refusal.

        is_gone: whether the client has disconnected; called once a decoder is free.
        """
        end_s = time.monotonic() + self.settings.timeout_s
        path = upload.path
        result: Prediction | Timeline

        def predict_timeline(decoder: Sandbox) -> Timeline:  # its network runs in the decoder too
            lengths = options.window_s, options.hop_s
            wall_s = end_s - time.monotonic()
            stream = decoder.windows(path, *lengths, options.parts, wall_s=wall_s)
            return read_timeline(stream, self.bundle)

        with self._name_timeout(path):
            async with asyncio.timeout(self.settings.timeout_s):
                if options.timeline:
                    result = await self._decode(predict_timeline, end_s, is_gone)
                else:
                    inputs = await self._decode(
                        lambda d: d.prepare(path, wall_s=end_s - time.monotonic()), end_s, is_gone
                    )
                    result = await self._predict_clip(inputs, options.parts)
        return replace(result, path=upload.name)

    def _name_timeout(self, path: str | Path) -> AbstractContextManager[None]:
        cause = f"not done after {self.settings.timeout_s:g} s"
        return translate_errors(ClipError, path, Reason.TIMEOUT, TimeoutError, cause=cause)

    async def _decode(self, work: Callable[[Sandbox], T], end_s: float, is_gone: IsGone) -> T:
        """Run work with a decoder, and measure the time of waiting and working."""
        queued_s = start_s = time.monotonic()

        async def begin() -> None:
            nonlocal start_s
            start_s = time.monotonic()
            self.metrics.observe("wait", start_s - queued_s)
            if await is_gone():
                raise Refusal(RefusalReason.DISCONNECTED, "the client has disconnected")
            if end_s - time.monotonic() < _MIN_S:
                raise TimeoutError

        result = await self.decoders.run(work, begin)
        spent_s = time.monotonic() - start_s
        self.metrics.observe("decode", spent_s)
        self._mean_s += _WEIGHT * (spent_s - self._mean_s)
        return result

    async def _predict_clip(self, inputs: ClipInputs, parts: bool) -> Prediction:
        """The prediction for a decoded clip, in a batch with those of other requests."""
        start_s = time.monotonic()
        clips = split_modalities(inputs, self.bundle.inputs, parts)
        rows = await self.batcher.predict(list(clips.values()))
        self.metrics.observe("network", time.monotonic() - start_s)
        return make_prediction(None, inputs, name_rows(clips, rows, self.bundle, "a clip"))

    async def infer(self, work: Callable[[Run], T]) -> T:
        """Call work with the network, in its thread. Raises ClipError (timeout)."""
        start_s = time.monotonic()
        with self._name_timeout("tensors"):
            async with asyncio.timeout(self.settings.timeout_s):
                result = await self.batcher.run(lambda: work(self.model.run))
        self.metrics.observe("network", time.monotonic() - start_s)
        return result
