"""Ending on SIGTERM or Ctrl-C: what is finished is kept, one line says how to resume."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_asked: Stopped | None = None


class Stopped(BaseException):
    """A signal asked to stop. No Exception, so that nothing takes it for a failure.

    where: how far the work had come, filled in on the way up.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number, self.where = number, "what is finished is kept"


def run_until_stopped(function: Callable[[], int], folder: Path) -> int:
    """Call function and return its exit code, or 128 and the number of the signal that ended it.

    SIGTERM gives 143, SIGINT 130. folder is named in the line on stderr.
    """
    global _asked
    _asked = None
    if threading.current_thread() is not threading.main_thread():
        return function()  # only there signals can be caught
    before = {n: signal.signal(n, _stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        return function()
    except Stopped as e:
        name = signal.Signals(e.number).name
        line = (
            f"stopped by {name}: {str(folder)!r}: {e.where}; run the same command again to resume"
        )
        print(line, file=sys.stderr, flush=True)
        return 128 + e.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_stopped() -> None:
    """Raise Stopped once more, should code that ignores exceptions have swallowed it."""
    if _asked is not None:
        raise _asked


@contextmanager
def note_progress(where: Callable[[], str]) -> Iterator[None]:
    """Note how far the work has come when it is stopped inside the block."""
    try:
        yield
    except Stopped as e:
        e.where = where()
        raise


def _stop(number: int, frame: object) -> None:
    global _asked
    _asked = Stopped(number)
    raise _asked
