"""The lock of a run folder: one process trains in it, and its workers see the same folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from keras_emo.errors import Reason, UsageError

LOCK_FILE = ".lock"
SHARED_S = 30.0  # a network's file system may show a file that late


def hold(folder: Path) -> IO[str]:
    """Hold the run folder for this process; the system lets go when the process ends.

    Raises UsageError where another process holds it.
    """
    lock = open(folder / LOCK_FILE, "w")  # noqa: SIM115  # open for as long as the run is
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(folder, Reason.BAD_CONFIG, "another process trains in it") from None
    return lock


def leave_mark(lock: IO[str]) -> str:
    """Leave a word in the lock that other workers can look for."""
    mark = os.urandom(8).hex()
    lock.write(mark)
    lock.flush()
    return mark


def await_mark(folder: Path, mark: str, number: int) -> None:
    """Raise UsageError where the chief's mark does not show in what this worker takes for it."""
    path, end_s = folder / LOCK_FILE, time.monotonic() + SHARED_S
    while not (path.is_file() and path.read_text(encoding="utf-8") == mark):
        if time.monotonic() > end_s:
            cause = f"worker {number} does not see the chief's; it has to lie on shared storage"
            raise UsageError(folder, Reason.NOT_FOUND, cause)
        time.sleep(0.2)
