import threading
import time

import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.media.reader import relay_frames
from keras_emo.media.recording import Frame, Media


def reader(n: int, log: list | None = None, error: Exception | None = None):
    """Reads n frames whose number is their grey level, then raises error if there is one."""

    def read(on_frame) -> Media:
        for i in range(n):
            if log is not None:
                log.append(i)
            on_frame(Frame(np.full((2, 2, 3), i, np.uint8), i / 10))
        if error is not None:
            raise error
        return Media(duration_s=n / 10)

    return read


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_order_result_and_threads():
    seen, here = [], threading.get_ident()

    def on_frame(frame) -> None:
        assert threading.get_ident() == here
        seen.append((int(frame.rgb[0, 0, 0]), frame.time_s))

    media = relay_frames(reader(40), on_frame)
    assert seen == [(i, i / 10) for i in range(40)]
    assert media.duration_s == 4.0
    assert relay_frames(reader(0), on_frame).duration_s == 0.0


def test_few_frames_are_held():
    read, ahead, n_seen = [], [], 0

    def on_frame(frame) -> None:
        nonlocal n_seen
        n_seen += 1
        time.sleep(0.01)
        ahead.append(len(read) - n_seen)

    relay_frames(reader(20, read), on_frame)
    assert len(read) == 20
    assert max(ahead) <= 3  # two that wait and one in hand


def test_errors_of_reading_come_after_the_frames_before_them():
    seen, error = [], ClipError("a.mp4", Reason.DURATION_LIMIT, "too long")
    with pytest.raises(ClipError) as caught:
        relay_frames(reader(5, error=error), lambda frame: seen.append(frame.time_s))
    assert caught.value is error
    assert len(seen) == 5


@pytest.mark.parametrize("failure", [ValueError("bad frame"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 3, 99])
def test_errors_of_looking_stop_the_reading(failure, at):
    read = []

    def on_frame(frame) -> None:
        if frame.time_s == at / 10:
            raise failure

    with pytest.raises(type(failure)) as caught:
        relay_frames(reader(100, read, RuntimeError("never reached or never seen")), on_frame)
    assert caught.value is failure
    assert len(read) <= at + 5
