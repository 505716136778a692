"""Limits of a process that reads untrusted recordings, set by the process itself. Linux.

Imports the standard library alone: enclose() is called before any library starts threads.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import sys
from dataclasses import dataclass

from keras_emo.spec import POSITIVE, check_ranges

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
# Landlock: system calls, the access to files of its first three versions without reading, TCP
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _TRUNCATE, _REFER = 1 << 1, 1 << 14, 1 << 13
_CHANGES = (1 << 15) - 1 & ~(1 << 2 | 1 << 3)  # all but reading files and folders
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals
_MAX_FILES = 64
_LARGE_PICTURE = 64 << 20  # bytes; 9.4 million pixels of 6 bytes


@dataclass(frozen=True)
class Limits:
    """What one recording may take.

    memory_bytes: of addresses beyond what the worker maps once it is ready. cpu_s, wall_s: of
    processor time and of waiting for one clip; in a timeline, from a window to the next one.
    n_recordings: a worker is replaced after so many, and with it what they left behind.
    """

    memory_bytes: int = 2 << 30
    cpu_s: float = 300.0
    wall_s: float = 60.0
    n_recordings: int = 500

    def __post_init__(self) -> None:
        check_ranges("limits", self, dict.fromkeys(vars(self), POSITIVE))


def enclose(parent_pid: int) -> bool:
    """Die with the parent, never gain rights, dump no core; whether the network is cut off.

    The network is cut off by a namespace of its own, where the kernel allows one. Where it has
    Landlock, nothing on disk is changed, no program started and no other process signalled.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, int(value), 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option} failed")
    if os.getppid() != parent_pid:  # it died before the prctl
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _forbid_changes(libc)
    # A user's namespace takes root's rights to files away, which the parent has.
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    return int(libc.unshare(flags)) == 0


def landlock_version(libc: ctypes.CDLL) -> int:
    """0 where the kernel has none."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, 1)))


def _forbid_changes(libc: ctypes.CDLL) -> None:
    """By Landlock: everything but reading files, and writing to /dev/null; best effort."""
    version = landlock_version(libc)
    if not version:
        return
    handled = _CHANGES & ~(_REFER if version < 2 else 0) & ~(_TRUNCATE if version < 3 else 0)
    fields = [handled, *([_TCP] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    rules = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE_RULESET, rules, len(rules), 0)
    if ruleset < 0:
        return
    null = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    allowed = struct.pack("=Qi", handled & (_WRITE_FILE | _TRUNCATE), null)
    if libc.syscall(_ADD_RULE, ruleset, 1, allowed, 0) == 0:
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(null)
    os.close(ruleset)


def limit_resources(limits: Limits) -> None:
    """Limit the memory from here on, the open files, and the growth of any file to none."""
    with open("/proc/self/statm", encoding="ascii") as f:
        mapped = int(f.read().split()[0]) * resource.getpagesize()
    for what, value in (
        (resource.RLIMIT_AS, mapped + limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        resource.setrlimit(what, (value, value))


def is_memory_spent() -> bool:
    """Whether so much was in use once that the next large picture had no room.

    FFmpeg reports that as a damaged packet.
    """
    with open("/proc/self/status", encoding="ascii") as f:
        peak = next(int(line.split()[1]) << 10 for line in f if line.startswith("VmPeak:"))
    return peak + _LARGE_PICTURE > resource.getrlimit(resource.RLIMIT_AS)[0]


def allow_cpu(more_s: float) -> None:
    """Allow more processor time; SIGXCPU comes at most a second after it."""
    used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used_s + more_s), hard))
