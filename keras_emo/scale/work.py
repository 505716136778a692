"""Jobs as Ray Data tasks: each is answered once, whatever becomes of the workers."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import cv2
import pyarrow as pa

from keras_emo.errors import EmoError, EnvironmentFailure, Reason
from keras_emo.progress import Progress
from keras_emo.scale.cluster import Cluster, open_cluster

Result = TypeVar("Result")
Job = tuple[Any, ...]

BATCH = 16  # jobs of a task at most: what is done again after its worker died
_TASKS_A_WORKER = 8  # at least, where there are so many jobs, or the last ones would wait for one
_WAVE = 1 << 16  # jobs of a dataset; one of all would be held as tasks by the driver


def run_on_ray(
    address: str | None,
    workers: int,
    threads: int,
    function: Callable[..., Result],
    jobs: Sequence[Job],
    give_up: Callable[..., Result],
) -> Generator[tuple[Job, Result], None, None]:
    """As run_on_cluster, on a cluster that is opened for it, see open_cluster."""
    if not jobs:
        return
    with Progress("Ray") as progress:
        progress.say("starting")
        with open_cluster(address, workers, threads) as cluster:
            progress.clear()
            yield from run_on_cluster(cluster, function, jobs, give_up)


def run_on_cluster(
    cluster: Cluster,
    function: Callable[..., Result],
    jobs: Sequence[Job],
    give_up: Callable[..., Result],
) -> Generator[tuple[Job, Result], None, None]:
    """Yield (job, function(*job)) as jobs end, as data.workers.run_jobs does.

    A worker that dies is replaced and its batch repeated, once; jobs that are still without an
    answer are then tried one by one, once more each; what kills its worker even so is
    give_up(*job). An EmoError of a job, a bug too, ends the work and is raised here.
    """
    size = max(1, min(BATCH, len(jobs) // (cluster.workers * _TASKS_A_WORKER)))
    for start in range(0, len(jobs), _WAVE):
        waiting = dict(enumerate(jobs[start : start + _WAVE]))
        for batch in (size, 1):
            if not waiting:
                break
            with closing(_map(cluster, function, waiting, batch)) as results:
                for i, data in results:
                    job = waiting.pop(i, None)
                    if job is None:
                        continue  # answered before: a task was repeated
                    result, error = pickle.loads(data)
                    if error is not None:
                        raise error
                    yield job, result
        for job in waiting.values():
            yield job, give_up(*job)


class Worker:
    """A Ray actor's work: batches of pickled jobs to pickled (result, error)."""

    def __init__(self, function: bytes, threads: int):
        cv2.setNumThreads(threads)
        self.function = pickle.loads(function)

    def __call__(self, batch: pa.Table) -> pa.Table:
        results = [self._attempt(data) for data in batch["data"].to_pylist()]
        return pa.table({"index": batch["index"], "data": pa.array(results, pa.binary())})

    def _attempt(self, data: bytes) -> bytes:
        try:
            return pickle.dumps((self.function(*pickle.loads(data)), None))
        except EmoError as e:  # raised again by the driver: Ray would only log it
            return pickle.dumps((None, e))
        except Exception:  # a bug, and its place here
            return pickle.dumps((None, RuntimeError(traceback.format_exc())))


def _map(
    cluster: Cluster, function: Callable[..., Any], jobs: dict[int, Job], batch: int
) -> Generator[tuple[int, bytes], None, None]:
    """(number, pickled result) of each job whose batch has an answer."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of settings that nobody touched
        context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a batch that fails is dropped, and missed by the caller
    rows = [{"index": i, "data": pickle.dumps(job)} for i, job in jobs.items()]
    pool = ActorPoolStrategy(
        size=min(cluster.workers, -(-len(rows) // batch)),
        max_tasks_in_flight_per_actor=1,  # one that waits would be lost with the one in work
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of max_restarts by name
            results = ray.data.from_items(
                rows, override_num_blocks=-(-len(rows) // batch)
            ).map_batches(
                Worker,
                fn_constructor_args=(pickle.dumps(function), cluster.threads),
                batch_size=None,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=cluster.threads,
                max_restarts=-1,
                max_task_retries=1,
            )
        blocks: Iterable[Any] = results.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        )
        for block in blocks:
            yield from zip(block["index"].to_pylist(), block["data"].to_pylist(), strict=True)
    except (RayError, RuntimeError, OSError) as e:
        cause = f"Ray gave up: {type(e).__name__}: {e}".split("\n")[0]
        raise EnvironmentFailure("ray", Reason.WORKER_DIED, cause) from e
