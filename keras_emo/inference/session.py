"""onnxruntime sessions with explicit resources."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import onnxruntime

from keras_emo.errors import BundleError, EnvironmentFailure, Reason

CPU = "CPUExecutionProvider"


@contextmanager
def as_bundle_error(model: str | Path) -> Iterator[None]:
    """Raise as BundleError what onnxruntime raises: its exceptions have no public names."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as e:
        raise BundleError(model, Reason.BAD_BUNDLE, str(e)) from e


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
    available = onnxruntime.get_available_providers()
    for name in providers:
        if name not in available:
            cause = f"onnxruntime does not have it here; available are {', '.join(available)}"
            raise EnvironmentFailure(name, Reason.MISSING_PACKAGE, cause)
    with as_bundle_error("model" if isinstance(model, bytes) else model):
        session = onnxruntime.InferenceSession(source, options, providers=list(providers))
    for name in providers:
        if name not in session.get_providers():  # its libraries did not load
            cause = "onnxruntime could not start it, see the messages above"
            raise EnvironmentFailure(name, Reason.MISSING_PACKAGE, cause)
    session.disable_fallback()
    return session


def available_cores() -> int:
    """Cores this process may use: its affinity, cut to the CPU quota of cgroup v2; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"), _read(Path("/proc/self/cgroup")))
    return max(1, int(min(cores, quota)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no cgroups here, or this controller is not mounted: no quota to honour
        return ""


def _cgroup_quota(root: Path, membership: str) -> float:
    """The tightest CPU quota, in cores, over the process's cgroups; infinite without one.

    membership: the text of /proc/self/cgroup. A parent's quota binds its children.
    """
    quotas = [math.inf]
    groups = [line.removeprefix("0::/") for line in membership.splitlines() if line[:3] == "0::"]
    for group in map(PurePosixPath, groups):
        # inside a container the group's path may be the host's: its root then holds the quota
        for level in (group, *group.parents):
            quota, *period = _read(root / level / "cpu.max").split() or ["max"]
            if quota != "max":
                quotas.append(int(quota) / int(period[0]))
    return min(quotas)
