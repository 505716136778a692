"""Work on Ray: started on this machine for one command, or a cluster that already runs.

Ray's actors rather than Ray Data: Ray Data repeats a clip that kills its worker without end (the
parameter that limits it leaves with Ray 2.64), and adds four seconds of start and end.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2

from keras_emo.errors import EmoError, EnvironmentFailure, Reason, UsageError, translate_errors
from keras_emo.inference.session import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

DIED = "its worker died twice, perhaps out of memory or in the decoder"
STORE_BYTES = 100 << 20  # of Ray's shared memory: only paths and rows go through it
_SOCKET_PATH = 40  # longest folder in which the paths of Ray's sockets are short enough
_CONNECT_S = 10.0
_TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
_DEFAULTS = {
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # dead workers are reported by this project
    "RAY_task_oom_retries": "1",  # by default, a clip that takes all memory is retried forever
}


def ray_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    threads: int,
    address: str | None,
    on_death: Callable[[Item], Result],
) -> Generator[tuple[Item, Result], None, None]:
    """Yield (item, function(item)) as items are done, in worker processes on Ray.

    function: is pickled, and called in each of workers processes of threads each. workers,
    address: see open_cluster. A worker that dies is replaced and its item repeated once; after a
    second death the item's result is on_death(item). An EmoError of the function ends the work and
    is raised here, as is a bug.
    """
    if not items:
        return
    with open_cluster(address, workers, threads) as n_workers:
        import ray
        from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayError, RayTaskError

        actor_class: Any = ray.remote(Worker)
        worker = actor_class.options(num_cpus=threads, max_restarts=-1, max_task_retries=1)
        idle = [worker.remote(function, threads) for _ in range(min(n_workers, len(items)))]
        running: dict[Any, tuple[Any, Item]] = {}
        waiting = deque(items)
        while waiting or running:
            while idle and waiting:
                actor, item = idle.pop(), waiting.popleft()
                running[actor.call.remote(item)] = actor, item
            (done,), _ = ray.wait(list(running))
            actor, item = running.pop(done)
            idle.append(actor)
            try:
                result = ray.get(done)
            except (ActorUnavailableError, OutOfMemoryError):
                result = on_death(item)
            except RayTaskError as e:
                raise (e.cause if isinstance(e.cause, EmoError) else e) from None
            except RayError as e:
                cause = f"Ray stopped the work: {type(e).__name__}: {e}"
                raise EnvironmentFailure("ray", Reason.WORKER_DIED, cause) from e
            yield item, result


class Worker:
    """A process on Ray: calls a function that keeps its state, such as a loaded model."""

    def __init__(self, function: Callable[[Any], Any], threads: int):
        cv2.setNumThreads(threads)
        self.function = function

    def call(self, item: Any) -> Any:
        return self.function(item)


@contextmanager
def open_cluster(address: str | None, workers: int, threads: int) -> Iterator[int]:
    """Connect to the cluster at address, or RAY_ADDRESS, or start Ray on this machine.

    Gives the number of workers; workers: 0 for as many as there are cores for. A Ray started here
    requires a secret that only this process and its children know, and ends with this block; it
    has to be opened before Ray is imported. Raises EnvironmentFailure where Ray cannot be
    started or reached, UsageError where the cluster is too small.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    _set_environment(own=address is None)
    import psutil
    import ray

    this, folder = psutil.Process(), tempfile.gettempdir()
    others = set(this.children(recursive=True))
    with tempfile.TemporaryDirectory(
        prefix="keras_emo-",
        dir=folder if len(folder) <= _SOCKET_PATH else "/tmp",
        ignore_cleanup_errors=True,
    ) as own_folder:
        try:
            if address is not None:
                _check_reachable(address)
                _connect(address)
            else:
                _connect(
                    "local",
                    num_cpus=workers * threads or max(available_cores(), threads),
                    num_gpus=0,
                    object_store_memory=STORE_BYTES,
                    include_dashboard=False,
                    _temp_dir=own_folder,
                )
            n_cpus = ray.cluster_resources().get("CPU", 0)
            workers = workers or max(1, int(n_cpus // threads))
            if workers * threads > n_cpus:  # Ray would wait for more
                needed = f"{workers} times {threads} threads"
                cause = f"{needed} do not fit the {n_cpus:.0f} CPUs of the cluster"
                raise UsageError("--workers", Reason.BAD_CONFIG, cause)
            yield workers
        finally:
            started = set(this.children(recursive=True)) - others
            ray.shutdown()
            for process in started:  # those that outlive it for a while, or a start cut short
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def _set_environment(own: bool) -> None:
    """Set what Ray reads when it is imported, except where the user has set it."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if own:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    elif _TOKENS & os.environ.keys() or Path("~/.ray/auth_token").expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray does so only without an address


def _check_reachable(address: str) -> None:
    """Raise EnvironmentFailure where nothing listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # a word that Ray knows, such as auto
    errors = OSError, OverflowError
    cause = "nothing listens there: {}"
    with translate_errors(EnvironmentFailure, address, Reason.NOT_FOUND, *errors, cause=cause):
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()


def _connect(address: str, **settings: Any) -> None:
    """ray.init, quiet, with SIGTERM handled as before: Ray replaces the handler."""
    import ray

    errors = OSError, RuntimeError, ValueError, ray.exceptions.RayError
    cause = "Ray cannot be started or reached: {}"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with translate_errors(EnvironmentFailure, address, Reason.NOT_FOUND, *errors, cause=cause):
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except SystemExit:  # raised by Ray's handler
        signal.signal(signal.SIGTERM, handler)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, handler)
