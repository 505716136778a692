"""Predictions for a webcam or a stream as it happens: the newest picture, never a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.inference.model import Model
from keras_emo.inference.predict import TrackedWindow, choose_lengths, predict_window
from keras_emo.inference.windows import WindowCutter
from keras_emo.media.live import Latest, Stream, Webcam
from keras_emo.media.recording import Streams, convert_frame, shrink_frame

_STALLED_S = 1.0  # without a picture for so long, windows close without it
_EARLY_S = 1 / 60  # half a frame: a picture due in less is sampled


class LivePredictions:
    """Predictions for a live source, a window per hop; a context that stops the reading.

    Pictures are sampled spec.face.frame_rate_hz times a second; where that is too much for
    the machine, late ones are dropped, and so are windows. max_s: stop after so much of the
    source's time. Raises UsageError for lengths out of range, ClipError where the source fails.
    """

    def __init__(
        self,
        model: Model,
        source: Webcam | Stream,
        name: str,
        window_s: float | None = None,
        hop_s: float | None = None,
        max_s: float = float("inf"),
    ):
        self.window_s, self.hop_s = choose_lengths(model.bundle, window_s, hop_s)
        self.latest, self.max_s, self.time_s = Latest(), max_s, 0.0
        self.n_skipped = 0  # windows
        self._model, self._source = model, source
        spec, modalities = model.bundle.spec, model.bundle.modalities
        self._spec = spec.face
        self._next = 0  # number of the next picture to sample
        streams, lengths = Streams(True, source.has_audio), (self.window_s, self.hop_s)
        self._cutter = WindowCutter(
            Path(name), streams, spec, model.detector, modalities, *lengths, live=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> LivePredictions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.latest.stopped = True
        self._thread.join(timeout=2.0)  # one that hangs in a read ends with the process

    def _read(self) -> None:
        try:
            self._source.read(self.latest)
            self.latest.end()
        except BaseException as e:
            self.latest.end(e)

    def __iter__(self) -> Iterator[TrackedWindow]:
        came_s = time.monotonic()
        while self.time_s < self.max_s:
            picture, sound = self.latest.read(_STALLED_S)
            for block, rate_hz, time_s in sound:
                self._cutter.on_audio(block, rate_hz, time_s)
            now_s = time.monotonic()
            if picture is not None:
                came_s, self.time_s = now_s, picture[1]
                self._read_picture(*picture)
            elif not self.latest.ended:
                self.time_s += now_s - came_s
                came_s = now_s
                self._cutter.advance(self.time_s)
            windows = list(self._cutter.pop())
            for window in windows[-1:]:  # a slow network skips windows rather than fall behind
                if window.end_s > self.max_s:
                    return
                self.n_skipped += len(windows) - 1
                yield predict_window(self._model, window)
            if picture is None and self.latest.ended:
                if self.latest.error is not None:
                    raise self.latest.error
                break
        for window in self._cutter.finish(min(self.time_s, self.max_s)):
            yield predict_window(self._model, window)

    def _read_picture(self, picture: Any, time_s: float) -> None:
        """Pass on a picture that is due: RGB uint8 (height, width, 3), or PyAV's frame."""
        number = int((time_s + _EARLY_S) * self._spec.frame_rate_hz)  # of the sampling grid
        if number < self._next:
            return
        self._next = number + 1
        convert = shrink_frame if isinstance(picture, np.ndarray) else convert_frame
        self._cutter.on_frame(convert(picture, time_s, self._spec.decode_max_px))
