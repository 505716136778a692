"""Ray: one of its own on this machine, or a cluster that runs; quiet, and gone at the end."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_emo.errors import EnvironmentFailure, Reason, UsageError
from keras_emo.inference.session import available_cores
from keras_emo.scale.family import end_family, list_family

STORE_BYTES = 100 << 20  # of Ray's shared memory: paths and rows go through it, no pictures
_SOCKET_PATH = 40  # length of a folder for which Ray's sockets' paths are short enough
_REACH_S = 10.0
_TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what dies and is tried anew is told by this project
    "RAY_task_oom_retries": "1",  # without it a clip that takes all memory would be tried for ever
}


@dataclass(frozen=True)
class Cluster:
    """Where work goes: so many worker processes of so many threads each."""

    workers: int
    threads: int


@contextmanager
def open_cluster(address: str | None, workers: int, threads: int) -> Iterator[Cluster]:
    """Connect to the cluster at address, or RAY_ADDRESS, or start Ray on this machine.

    workers: 0 for as many as there are cores for. A Ray of its own asks for a secret that only
    this process and its children know, and ends with them; to be opened before Ray is imported.
    Raises EnvironmentFailure where there is none to be had, UsageError where it is too small.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    _set_environment(own=address is None)
    with tempfile.TemporaryDirectory(
        prefix="keras_emo-", dir=_choose_folder(), ignore_cleanup_errors=True
    ) as folder:
        import ray

        settings: dict[str, Any] = {"address": address}
        if address is not None:
            _check_reachable(address)
        else:
            workers = workers or max(1, available_cores() // threads)
            settings = {
                "address": "local",
                "num_cpus": workers * threads,
                "num_gpus": 0,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        others = list_family(os.getpid())
        try:
            _start(ray, settings, address)
            if address is not None:
                workers = _count_workers(ray, workers, threads)
            yield Cluster(workers, threads)
        finally:
            family = list_family(os.getpid()) - others
            ray.shutdown()
            end_family(family)  # of a start that was stopped, shutdown leaves some


def _set_environment(own: bool) -> None:
    """What Ray reads as it is imported; what the user has set stays, but for a Ray of one's own."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if own:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    elif _TOKENS & os.environ.keys() or Path("~/.ray/auth_token").expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray itself does so too late


def _check_reachable(address: str) -> None:
    """Raise EnvironmentFailure where nobody listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # a word that Ray knows, as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as e:
        raise EnvironmentFailure(address, Reason.NOT_FOUND, f"nobody listens there: {e}") from e


def _start(ray: Any, settings: dict[str, Any], address: str | None) -> None:
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    terminated = False
    try:
        with _silence():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except SystemExit:  # by the handler that Ray sets
        terminated = True
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as e:
        cause = f"Ray cannot be {'reached' if address else 'started'}: {e}".split("\n")[0]
        raise EnvironmentFailure(address or "ray", Reason.NOT_FOUND, cause) from e
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if terminated:
        signal.raise_signal(signal.SIGTERM)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what native code says from stderr: that its log level is as asked."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _count_workers(ray: Any, workers: int, threads: int) -> int:
    n_cpus = int(ray.cluster_resources().get("CPU", 0))
    if max(workers, 1) * threads > n_cpus:
        needed = f"{max(workers, 1)} times {threads} threads"
        cause = f"{needed} do not fit the {n_cpus} CPUs of the cluster"
        raise UsageError("--workers", Reason.BAD_CONFIG, cause)
    return workers or n_cpus // threads


def _choose_folder() -> str:
    """The system's folder for temporary files, unless its name is too long for a socket in it."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _SOCKET_PATH else "/tmp"
