"""Training on several workers with Ray Train, which starts them and replaces those that die."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_emo.errors import EmoError, EnvironmentFailure, Reason, UsageError
from keras_emo.scale.cluster import open_cluster
from keras_emo.training.config import CONFIG_FILE, TrainConfig
from keras_emo.training.data import Prepared

if TYPE_CHECKING:
    from keras_emo.training.run import Run

MAX_FAILURES = 3  # how often dead workers are replaced before the run ends
POLL_S = 0.5


@dataclass(frozen=True)
class Workers:
    """How many workers train, and the Ray cluster that they run on; None: this machine."""

    count: int
    address: str | None = None


@dataclass(frozen=True)
class Job:
    """What every worker trains: the arguments of Run and train_stages."""

    folder: Path
    config: TrainConfig
    prepared: Prepared
    init_from: Path | None
    pretrain_data: Path | None
    stages: Sequence[str] | None


def train_run(
    run: Run,
    workers: Workers | None,
    init_from: Path | None = None,
    pretrain_data: Path | None = None,
    stages: Sequence[str] | None = None,
) -> None:
    """train_stages in this process, or on workers."""
    from keras_emo.training.stages import check_starts, train_stages

    check_starts(run, init_from)
    if workers is None:
        train_stages(run, init_from, pretrain_data, stages)
    else:  # which run in folders of their own
        start, pictures = (path and path.resolve() for path in (init_from, pretrain_data))
        job = Job(run.folder.resolve(), run.config, run.prepared, start, pictures, stages)
        train_on_workers(job, workers)


def train_on_workers(job: Job, workers: Workers) -> None:
    """train_stages in every worker; the run folder and the cache have to be on shared storage.

    What the coordinator prints is printed here. A worker that dies is replaced, and all resume
    after the last epoch that was saved. Raises an EmoError of the training, and
    EnvironmentFailure, worker_died, where workers died more than MAX_FAILURES times.
    """
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    with open_cluster(workers.address, workers.count, threads=1):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.tensorflow import TensorflowTrainer
        from ray.util.queue import Queue

        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        messages = Queue()
        use_gpu = ray.cluster_resources().get("GPU", 0) >= workers.count
        failures = FailureConfig(max_failures=MAX_FAILURES)
        trainer = TensorflowTrainer(
            _train_worker,
            train_loop_config={"job": job, "messages": messages},
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=use_gpu, placement_strategy="SPREAD"
            ),
            run_config=RunConfig(name="ray", storage_path=str(job.folder), failure_config=failures),
        )
        pool = ThreadPoolExecutor(1)  # so that signals reach the main thread
        done = pool.submit(trainer.fit)
        pool.shutdown(wait=False)
        while not done.done() or not messages.empty():
            _show_next(messages)
        try:
            done.result()
        except TrainingFailedError as e:
            raise _find_cause(getattr(e, "worker_failures", {}), workers.count) from e


def _show_next(messages: Any) -> None:
    """Print or raise the next message of the coordinator; return after POLL_S without one."""
    from ray.util.queue import Empty

    with contextlib.suppress(Empty):
        message = messages.get(timeout=POLL_S)
        if isinstance(message, EmoError):
            raise message
        print(message, end="", flush=True)


def _find_cause(failures: Mapping[int, Exception], count: int) -> EmoError:
    """The error of a worker, or that it died."""
    for failure in failures.values():
        for error in (failure, failure.__cause__, getattr(failure, "cause", None)):
            if isinstance(error, EmoError):
                return error
    who = ", ".join(str(rank) for rank in sorted(failures))
    first = next((str(e).strip().splitlines() for e in failures.values() if str(e).strip()), ["?"])
    cause = f"{first[-1]}; run the same command again to resume"
    return EnvironmentFailure(f"worker {who} of {count}", Reason.WORKER_DIED, cause)


class _Sender(io.TextIOBase):
    """A stream that sends what is written to the process that started the training."""

    def __init__(self, messages: Any):
        self.messages = messages

    def write(self, text: str) -> int:
        self.messages.put(text)
        return len(text)


def _train_worker(settings: dict[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    import tensorflow as tf
    from ray.train import get_context

    from keras_emo.training.distributed import Replicas
    from keras_emo.training.run import Run
    from keras_emo.training.stages import train_stages

    job, messages, context = settings["job"], settings["messages"], get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    replicas = Replicas(tf.distribute.MultiWorkerMirroredStrategy(), rank, size)
    if not (job.folder / CONFIG_FILE).is_file():
        cause = f"worker {rank} of {size} does not find it; it has to be on shared storage"
        raise UsageError(job.folder, Reason.NOT_FOUND, cause)
    run = Run(job.folder, job.config, job.prepared, replicas)
    try:
        with contextlib.ExitStack() as stack:
            if rank == 0:
                stack.enter_context(contextlib.redirect_stdout(_Sender(messages)))
            train_stages(run, job.init_from, job.pretrain_data, job.stages)
    except EmoError as e:
        if e is not replicas.failure:  # of this worker alone: Ray ends the others
            raise
        if rank == 0:
            messages.put(e)
