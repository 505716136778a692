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
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from keras_emo.records import read_fields, read_value, write_fields
from keras_emo.sandbox.limits import Limits
from keras_emo.sandbox.process import WorkerProcess, describe_end
from keras_emo.sandbox.wire import (
    Failure,
    Header,
    Setup,
    check_values,
    decode_record,
    encode_source,
    read_header,
    take_object,
)

DEFAULT_LIMITS = Limits()
_START_S = 120.0  # until the worker is ready


class Sandbox:
    """A worker that reads recordings for a bundle; a context that ends it.

    bundle: as load_bundle verified it. threads: of decoder, detector and network. warm: a worker
    is ready once every network has run, also what windows need. Not to be shared between threads
    while it reads. A worker that crashes, sends nonsense or takes too long is replaced for the
    next recording. Raises EnvironmentFailure if none starts.
    """

    def __init__(
        self,
        bundle: Bundle,
        limits: Limits = DEFAULT_LIMITS,
        threads: int = 1,
        warm: bool = False,
    ):
        self.bundle, self.limits, self.threads = bundle, limits, threads
        self.has_network = True  # the worker reaches it
        self.warm = self._has_model = warm  # _has_model: it can predict windows
        self._worker: WorkerProcess | None = self._start()

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
        with self._reading(worker, source, wall_s):
            worker.send({"source": encode_source(source)})
            found = take_object(self._receive(worker, source), "inputs")
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
        worker = self._ready_worker(has_model=True)
        with self._reading(worker, source, wall_s):
            worker.send({"source": encode_source(source), "windows": [window_s, hop_s, parts]})
        for number in itertools.count():
            with self._reading(worker, source, min(wall_s, end_s - time.monotonic())):
                header = self._receive(worker, source)
                state = read_fields(ReadState, check_values(take_object(header, "state")))
                if "end" in header and number:
                    worker.busy = False
                    break
                if number > MAX_DURATION_S / hop_s:
                    raise ValueError("more windows than the longest recording has")
                found = take_object(header, "window")
                window = decode_record(TrackedWindow, found, worker.read, self.bundle.spec)
            yield window, state
        yield None, state

    def _receive(self, worker: WorkerProcess, source: ClipSource) -> Header:
        """The next message. Raises ClipError if it is a failure."""
        header = read_header(worker.read)
        if "crash" in header:
            cause = read_value(str, check_values(header["crash"]), "crash")
            self.close()
            raise ClipError(source.path, Reason.DECODER_CRASHED, f"the decoder failed: {cause}")
        if "error" in header:
            error = read_fields(Failure, check_values(take_object(header, "error")))
            if error.file >= len(source.files):
                raise ValueError(f"an error of file {error.file}")
            worker.busy = False
            raise ClipError(source.files[error.file], error.reason, error.cause)
        return header

    @contextmanager
    def _reading(self, worker: WorkerProcess, source: ClipSource, wall_s: float) -> Iterator[None]:
        """Limit the worker's time; what goes wrong ends it, as a ClipError."""
        worker.end_s, path = time.monotonic() + wall_s, source.path
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

    def _ready_worker(self, has_model: bool = False) -> WorkerProcess:
        """The worker, or a new one if it is gone, worn or lacks the model."""
        worker, lacks_model = self._worker, has_model and not self._has_model
        self._has_model |= has_model
        worn = worker is not None and worker.n_recordings >= self.limits.n_recordings
        if worker is None or worn or lacks_model or not worker.is_idle:
            self.close()
            worker = self._worker = self._start()
        worker.n_recordings += 1
        return worker

    def _start(self) -> WorkerProcess:
        """A new worker, ready. Raises EnvironmentFailure."""
        folder, manifest = str(self.bundle.folder.absolute()), self.bundle.manifest
        setup = Setup(folder, manifest, self.limits, self.threads, self._has_model, self.warm)
        worker, header = WorkerProcess(), {}
        worker.end_s = time.monotonic() + _START_S
        try:
            worker.send(write_fields(setup))
            header = read_header(worker.read)
            cause = header.get("refused")
        except EOFError:
            cause = describe_end(worker.end(died=True))
        except TimeoutError:
            cause = f"not ready after {_START_S:.0f} s"
        except ValueError as e:
            cause = str(e)
        except BaseException:
            worker.end()
            raise
        if cause is not None:
            worker.end()
            raise EnvironmentFailure("sandbox", Reason.WORKER_DIED, f"it did not start: {cause}")
        self.has_network, worker.busy = header.get("has_network") is not False, False
        return worker
