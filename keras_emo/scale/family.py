"""The processes that this one has started, and those that they have: Linux alone, else none."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process; one with a number that was given anew has started at another time."""

    pid: int
    started: int
    name: str


def list_family(pid: int) -> set[Process]:
    """All descendants of a process that are alive."""
    children: dict[int, list[Process]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        process, parent = _read(int(path.name))
        if process is not None:
            children.setdefault(parent, []).append(process)
    found, waiting = set(), [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += [p.pid for p in below]
    return found


def is_alive(process: Process) -> bool:
    return _read(process.pid)[0] == process


def end_family(family: set[Process]) -> None:
    """Kill those that are still alive."""
    for process in filter(is_alive, family):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _read(pid: int) -> tuple[Process | None, int]:
    """A process and its parent's number; None and 0 for one that is gone, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None, 0
    head, _, tail = text.rpartition(") ")  # a name may hold anything
    fields = tail.split()
    if fields[0] == "Z":
        return None, 0
    return Process(pid, int(fields[19]), head.partition(" (")[2]), int(fields[1])
