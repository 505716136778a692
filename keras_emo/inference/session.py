"""onnxruntime sessions with explicit resources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import onnxruntime

from keras_emo.errors import BundleError, EnvironmentFailure, Reason

CPU = "CPUExecutionProvider"
_CGROUP_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def as_bundle_error(model: str | Path) -> Iterator[None]:
    """Raise as BundleError what onnxruntime raises: its exceptions have no public names."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as e:
        raise BundleError(model, Reason.BAD_BUNDLE, str(e)) from e


def check_providers(providers: Sequence[str]) -> None:
    """Raise EnvironmentFailure naming one that onnxruntime lacks here."""
    available = onnxruntime.get_available_providers()
    for name in providers:
        if name not in available:
            cause = f"onnxruntime does not have it here; available are {', '.join(available)}"
            raise EnvironmentFailure(name, Reason.MISSING_PACKAGE, cause)


def open_session(
    model: str | Path | bytes, threads: int, providers: Sequence[str] = (CPU,)
) -> onnxruntime.InferenceSession:
    """A session on ``model`` (a path or the file's bytes) that uses ``threads`` threads.

    providers: execution providers, the preferred first; none of them is replaced in silence.
    Idle threads sleep, so that several sessions share a machine. Raises BundleError when the
    model does not load, EnvironmentFailure when a provider is missing, ValueError when
    threads < 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan is kept for each input shape, and frames and crops differ in number from run to run:
    # without plans 4 MB (detector) and 14 MB (network) less, as fast. No arena: 10 to 40 MB more.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors
    source = model if isinstance(model, bytes) else str(model)
    check_providers(providers)
    with as_bundle_error("model" if isinstance(model, bytes) else model):
        session = onnxruntime.InferenceSession(source, options, providers=list(providers))
    for name in providers:
        if name not in session.get_providers():  # its libraries did not load
            cause = "onnxruntime could not start it, see the messages above"
            raise EnvironmentFailure(name, Reason.MISSING_PACKAGE, cause)
    session.disable_fallback()
    return session


def available_cores() -> int:
    """Cores this process may use: its affinity, cut to a cgroup CPU quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(_CGROUP_ROOT, _read(Path("/proc/self/cgroup")))
    return max(1, min(cores, int(quota)) if quota is not None else cores)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no cgroups here, or this controller is not mounted: no quota to honour
        return ""


def _cgroup_quota(root: Path, membership: str) -> float | None:
    """The tightest CPU quota, in cores, over the process's cgroups; None without one.

    membership: the text of /proc/self/cgroup. A parent's quota binds its children.
    """
    quotas = []
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        path = PurePosixPath(group)
        # inside a container the group's path may be the host's: its root then holds the quota
        groups = [level.as_posix().lstrip("/") for level in (path, *path.parents)]
        if controllers == "":  # v2
            texts = [_read(root / g / "cpu.max").split() for g in groups]
        elif "cpu" in controllers.split(","):
            mounts = {controllers, "cpu", "cpu,cpuacct"}
            folders = [root / mount / g for mount in sorted(mounts) for g in groups]
            texts = [
                [*_read(f / "cpu.cfs_quota_us").split(), *_read(f / "cpu.cfs_period_us").split()]
                for f in folders
            ]
        else:
            continue
        for text in texts:
            if len(text) == 2 and text[0] not in ("max", "-1"):
                quotas.append(int(text[0]) / int(text[1]))
    return min(quotas, default=None)
