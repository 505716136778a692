"""Jobs for a pool of processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from typing import Any, TypeVar

import cv2

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.inference.session import available_cores

Result = TypeVar("Result")
Job = tuple[Any, ...]


def run_jobs(
    function: Callable[..., Result], jobs: Sequence[Job], workers: int = 0
) -> Generator[tuple[Job, Result], None, None]:
    """Yield (job, function(*job)) as jobs end, in processes where there are several.

    workers: processes; 0: one a core.

    An exception of a job waits for the jobs that run; anything else (a signal, the generator
    closed) ends the processes at once. Raises EnvironmentFailure where a process died.
    """
    workers = min(workers or available_cores(), len(jobs))
    if workers <= 1:
        for job in jobs:
            yield job, function(*job)
        return
    others = set(active_children())
    context = get_context("spawn")  # cv2 and av do not like fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        futures = {pool.submit(function, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as e:
            cause = "it died, perhaps for lack of memory; try fewer workers"
            raise EnvironmentFailure("worker process", Reason.WORKER_DIED, cause) from e
        except BaseException as e:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(e, Exception):
                for child in set(active_children()) - others:
                    child.terminate()
            raise


def _start_worker() -> None:
    """One thread per process, and no life beyond the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent handles it
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a killed parent cannot shut its workers down
