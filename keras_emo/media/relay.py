"""Pictures handed from the thread that decodes them to the one that looks at them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue

import numpy as np

from keras_emo.media.recording import Media, TakeFrame

_HELD = 2  # pictures that wait to be looked at
_PATIENCE_S = 0.1  # until a reader asks whether they are still wanted


def relay_frames(read: Callable[[TakeFrame], Media], take: TakeFrame) -> Media:
    """read(take), where take is called here, in order, while read goes on in another thread.

    Whatever either raises is raised here, as it would be by read(take); no thread is left then.
    """
    frames: Queue[tuple[np.ndarray, float] | None] = Queue(_HELD)
    stopped = False

    def put(frame: tuple[np.ndarray, float] | None) -> None:
        while not stopped:
            try:
                return frames.put(frame, timeout=_PATIENCE_S)
            except Full:
                continue
        raise _Stopped

    def read_all() -> Media:
        try:
            return read(lambda rgb, time_s: put((rgb, time_s)))
        finally:
            put(None)

    with ThreadPoolExecutor(1, "decoding") as pool:
        reading = pool.submit(read_all)
        try:
            while (frame := frames.get()) is not None:
                take(*frame)
        finally:
            stopped = True
        return reading.result()


class _Stopped(Exception):
    """Nobody looks at further pictures."""
