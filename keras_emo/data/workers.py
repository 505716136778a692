"""Worker processes: what each does first, and jobs handed to them one by one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context, parent_process
from typing import Any, TypeVar

import cv2

Result = TypeVar("Result")
Job = tuple[Any, ...]


def start_worker() -> None:
    """Initializer of a process pool: one thread each, and no life beyond the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent answers it
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def run_jobs(
    function: Callable[..., Result], jobs: Sequence[Job], workers: int
) -> Generator[tuple[Job, Result], None, None]:
    """Yield (job, function(*job)) as jobs end, in processes where workers are more than one.

    A failure waits for the jobs in work; anything that is no failure (a signal, the generator
    closed) ends the processes at once. Raises BrokenProcessPool where one died.
    """
    if workers <= 1:
        for job in jobs:
            yield job, function(*job)
        return
    others = set(active_children())
    context = get_context("spawn")  # cv2 and av do not like fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        waiting: dict[Future, Job] = {}
        queue = iter(jobs)
        try:
            while True:
                for job in queue:
                    waiting[pool.submit(function, *job)] = job
                    if len(waiting) >= 2 * workers:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BaseException as e:
            if not isinstance(e, Exception):
                for child in set(active_children()) - others:
                    child.terminate()
            raise
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a killed parent cannot say goodbye
