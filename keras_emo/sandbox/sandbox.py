"""Untrusted recordings read in a process that may be killed and may do little. Linux.

The kernel guarantees: the worker's memory, open files and the size of files it writes are
limited, it gains no rights, it dies with the parent, and the parent kills it when the time is
up. Its messages are checked, never executed. Best effort: its processor time is limited (a
worker that was taken over may lift that), it has no network where the kernel grants a namespace
(Sandbox.has_network), and it changes no file and starts no program where there is Landlock. Not
guaranteed: it reads files with the user's rights, and one that was taken over may lie about the
recordings that follow, up to Limits.n_recordings.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from keras_emo.errors import ClipError, ClipTimeout, EnvironmentFailure, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import can_predict
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.predict import (
    ReadState,
    Steps,
    TrackedWindow,
    WindowStream,
    choose_lengths,
)
from keras_emo.media.decode import MAX_DURATION_S
from keras_emo.media.reader import ClipSource
from keras_emo.records import read_value, write_fields
from keras_emo.sandbox.limits import Limits
from keras_emo.sandbox.wire import Failure, Header, Setup, decode_record, pack, read_header

DEFAULT_LIMITS = Limits()
_START_S = 120.0  # until the worker is ready
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


class Sandbox:
    """A worker that reads recordings for a bundle; a context that ends it.

    bundle: as load_bundle verified it. threads: of decoder and network. warm: a worker is
    ready once every network has run. Not to be shared between threads
    while it reads. A worker that crashes, sends nonsense or takes too long is replaced for the
    next recording. Raises EnvironmentFailure if none starts.
    """

    def __init__(
        self, bundle: Bundle, limits: Limits = DEFAULT_LIMITS, threads: int = 1, warm: bool = False
    ):
        self.bundle, self.limits, self.threads = bundle, limits, threads
        self.warm, self.has_network = warm, True  # has_network: the worker reaches it
        self._worker: WorkerProcess | None = None
        self._start()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the worker; None if there is none now."""
        return None if self._worker is None else self._worker.pid

    def close(self) -> None:
        """End the worker; the next call would start another one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def prepare(self, source: ClipSource | Path, wall_s: float | None = None) -> ClipInputs:
        """As Model.prepare, in the worker.

        wall_s: instead of limits.wall_s. Raises ClipError: as Model.prepare does, with
        decoder_crashed if the worker died, ClipTimeout when the time is up.
        """
        source = source if isinstance(source, ClipSource) else ClipSource(video=source)
        wall_s = self.limits.wall_s if wall_s is None else wall_s
        worker = self._ready_worker()
        with self._reading(worker, source.path, wall_s):
            worker.send({"source": asdict(source)})
            found = read_value(dict, self._receive(worker, source).get("inputs"), "inputs")
            inputs = decode_record(ClipInputs, found, worker.read, self.bundle.spec)
            if not can_predict(inputs, self.bundle.inputs):
                raise ValueError("a clip that the network cannot predict")
            worker.busy = False
        return inputs

    def windows(
        self,
        path: Path,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
        wall_s: float | None = None,
    ) -> WindowStream:
        """As Model.stream, read and predicted in the worker.

        limits.wall_s is from a window to the next one; wall_s: for all of them, None: no limit.
        Raises UsageError for lengths out of range; iterating raises ClipError as prepare does.
        """
        end_s = math.inf if wall_s is None else time.monotonic() + wall_s
        window_s, hop_s = choose_lengths(self.bundle, window_s, hop_s)
        steps = self._read_windows(path, window_s, hop_s, parts, end_s)
        return WindowStream(path, window_s, hop_s, steps)

    def _read_windows(
        self, path: Path, window_s: float, hop_s: float, parts: bool, end_s: float
    ) -> Steps:
        """end_s: when the last window has to be there, on the clock of time.monotonic."""
        source, wall_s = ClipSource(video=path), self.limits.wall_s
        worker = self._ready_worker()
        with self._reading(worker, path, wall_s):
            worker.send({"source": asdict(source), "windows": [window_s, hop_s, parts]})
        for number in itertools.count():
            with self._reading(worker, path, min(wall_s, end_s - time.monotonic())):
                header = self._receive(worker, source)
                state = read_value(ReadState, header.get("state"), "state")
                if "end" in header and number:
                    worker.busy = False
                    break
                if number > MAX_DURATION_S / hop_s:
                    raise ValueError("more windows than the longest recording has")
                found = read_value(dict, header.get("window"), "window")
                window = decode_record(TrackedWindow, found, worker.read, self.bundle.spec)
            yield window, state
        yield None, state

    def _receive(self, worker: WorkerProcess, source: ClipSource) -> Header:
        """The next message. Raises ClipError if it is a failure."""
        header = read_header(worker.read)
        if "crash" in header:
            cause = read_value(str, header["crash"], "crash")
            self.close()
            raise ClipError(source.path, Reason.DECODER_CRASHED, f"the decoder failed: {cause}")
        if "error" in header:
            error = read_value(Failure, header["error"], "error")
            if error.file >= len(source.files):
                raise ValueError(f"an error of file {error.file}")
            worker.busy = False
            raise ClipError(source.files[error.file], error.reason, error.cause)
        return header

    @contextmanager
    def _reading(self, worker: WorkerProcess, path: Path, wall_s: float) -> Iterator[None]:
        """Limit the worker's time; what goes wrong ends it, as a ClipError of path."""
        worker.end_s = time.monotonic() + wall_s
        try:
            yield
        except TimeoutError:
            self.close()
            cause = f"not done after {max(wall_s, 0):.3g} s"
            raise ClipTimeout(path, Reason.TIMEOUT, cause) from None
        except EOFError:
            self._worker = None
            cause = describe_end(worker.end(died=True))
            raise ClipError(path, Reason.DECODER_CRASHED, cause) from None
        except ValueError as e:
            self.close()
            cause = f"a malformed message of the decoder: {e}"
            raise ClipError(path, Reason.DECODER_CRASHED, cause) from None

    def _ready_worker(self) -> WorkerProcess:
        """The worker, or a new one if it is gone or worn."""
        worker, limit = self._worker, self.limits.n_recordings
        if worker is None or worker.n_recordings >= limit or not worker.is_idle:
            self.close()
            worker = self._start()
        worker.n_recordings += 1
        return worker

    def _start(self) -> WorkerProcess:
        """A new worker, ready. Raises EnvironmentFailure."""
        bundle, name = self.bundle, Path("sandbox")
        setup = Setup(bundle.folder, bundle.manifest, self.limits, self.threads, self.warm)
        worker = self._worker = WorkerProcess()
        try:
            with self._reading(worker, name, _START_S):
                worker.send(write_fields(setup))
                header = read_header(worker.read)
            if "refused" in header:
                raise ClipError(name, Reason.WORKER_DIED, str(header["refused"]))
        except ClipError as e:
            self.close()
            cause = f"it did not start: {e.cause}"
            raise EnvironmentFailure(name, Reason.WORKER_DIED, cause) from None
        except BaseException:
            self.close()
            raise
        self.has_network, worker.busy = header.get("has_network") is not False, False
        return worker


class WorkerProcess:
    """A process and the pipes to it. Reads and writes raise EOFError, or TimeoutError."""

    def __init__(self) -> None:
        self._process = process = _STARTER.submit(_start_process).result()
        assert process.stdin is not None
        assert process.stdout is not None
        self._pipes = process.stdin, process.stdout
        os.set_blocking(process.stdin.fileno(), False)
        self.pid = process.pid
        self.n_recordings = 0  # that it was sent
        self.busy = False  # with a recording
        self.end_s = math.inf  # on the clock of time.monotonic

    @property
    def is_idle(self) -> bool:
        """Whether it lives and waits for a recording."""
        return not self.busy and self._process.poll() is None

    def send(self, header: Header) -> None:
        pipe, self.busy = self._pipes[0].fileno(), True
        for part in pack(header):
            rest = memoryview(part)
            while len(rest):
                self._wait(pipe, select.POLLOUT)
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BrokenPipeError:
                    raise EOFError from None

    def read(self, n_bytes: int) -> bytearray:
        pipe, data = self._pipes[1].fileno(), bytearray()
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
        for pipe in self._pipes:
            pipe.close()
        try:
            return self._process.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            self._process.kill()
            return self._process.wait()


def _start_process() -> subprocess.Popen[bytes]:
    paths = [os.path.abspath(path) for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(paths), str(os.getpid())],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        | {"MALLOC_ARENA_MAX": "2"},  # an arena a thread takes 64 MB of addresses
        start_new_session=True,  # a terminal's Ctrl-C is for the parent to act on
    )


def describe_end(code: int) -> str:
    """The cause of death of a worker, by its return code."""
    if code >= 0:
        return f"the decoder ended with exit code {code}"
    name = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
    why = {"SIGXCPU": ", too much processor time", "SIGKILL": ", perhaps for want of memory"}
    return f"the decoder was ended by {name}{why.get(name, '')}"
