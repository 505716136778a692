"""A sandbox's worker as the parent holds it: a process, two pipes, a deadline."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from keras_emo.sandbox.wire import Header, pack

_DYING_S = 2.0  # from the end of its output to its return code
_BLOCK = 1 << 20  # bytes
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from keras_emo.sandbox.limits import enclose
cut_off = enclose(int(sys.argv[2]))
from keras_emo.sandbox import worker as sandbox_worker
sandbox_worker.main(not cut_off)
"""
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # nothing secret is passed on
# The kernel kills a worker once the thread that started it ends: this one ends with the process.
_STARTER = ThreadPoolExecutor(1, "sandbox")


class WorkerProcess:
    """A process and the pipes to it. Reads and writes raise EOFError, or TimeoutError."""

    def __init__(self) -> None:
        self._process = _STARTER.submit(_start_process).result()
        self.pid = self._process.pid
        self.n_recordings = 0  # that it was sent
        self.busy = False  # with a recording
        self.end_s = math.inf  # on the clock of time.monotonic

    @property
    def is_idle(self) -> bool:
        """Whether it lives and waits for a recording."""
        return not self.busy and self._process.poll() is None

    def send(self, header: Header) -> None:
        assert self._process.stdin is not None
        pipe, self.busy = self._process.stdin.fileno(), True
        for part in pack(header):
            rest = memoryview(part)
            while len(rest):
                self._wait(pipe, select.POLLOUT)
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BrokenPipeError:
                    raise EOFError from None

    def read(self, n_bytes: int) -> bytearray:
        assert self._process.stdout is not None
        pipe, data = self._process.stdout.fileno(), bytearray()
        while len(data) < n_bytes:
            self._wait(pipe, select.POLLIN)
            block = os.read(pipe, min(n_bytes - len(data), _BLOCK))
            if not block:
                raise EOFError
            data += block
        return data

    def _wait(self, pipe: int, event: int) -> None:
        poll, left_s = select.poll(), self.end_s - time.monotonic()
        poll.register(pipe, event)
        if left_s <= 0 or not poll.poll(min(left_s, 1e6) * 1000):
            raise TimeoutError

    def end(self, died: bool = False) -> int:
        """Its return code, once it is gone; unless it died by itself it is killed."""
        if not died:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            return self._process.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            self._process.kill()
            return self._process.wait()


def _start_process() -> subprocess.Popen[bytes]:
    paths = [os.path.abspath(path) for path in sys.path]
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(paths), str(os.getpid())],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        | {"MALLOC_ARENA_MAX": "2"},  # an arena a thread takes 64 MB of addresses
        start_new_session=True,  # a terminal's Ctrl-C is for the parent to act on
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process


def describe_end(code: int) -> str:
    """The cause of death of a worker, by its return code."""
    if code >= 0:
        return f"the decoder ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = {"SIGXCPU": ", too much processor time", "SIGKILL": ", perhaps for want of memory"}
    return f"the decoder was ended by {name}{why.get(name, '')}"
