"""The process inside a sandbox: reads recordings on request, until its input ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict

import av  # noqa: F401  # now: its libraries no longer load once memory is limited
import numpy as np

from keras_emo.errors import ClipError, EmoError
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.model import Model
from keras_emo.media.reader import ClipSource
from keras_emo.records import read_fields
from keras_emo.sandbox.limits import allow_cpu, is_memory_spent, limit_resources
from keras_emo.sandbox.wire import Failure, Header, Setup, encode_record, pack, read_header


class Worker:
    """Serves requests that come on one pipe, on another.

    has_network: whether this process still reaches the network.
    """

    def __init__(self, pipe_in: int, pipe_out: int, has_network: bool):
        self._in, self._out = os.fdopen(pipe_in, "rb"), os.fdopen(pipe_out, "wb")
        self.has_network = has_network

    def serve(self) -> None:
        """Load, send that it is ready, serve; returns at the end of the requests or on a crash."""
        setup = read_fields(Setup, self._receive())
        try:
            self._model = Model(Bundle(setup.folder, setup.manifest), threads=setup.threads)
            if setup.warm:
                self._model.warm_up()
        except EmoError as e:
            self._send({"refused": str(e)[:2000]})
            return
        os.dup2(0, 2)  # a traceback could show until here; from here on recordings may write it
        self._limits = setup.limits
        limit_resources(self._limits)
        self._send({"ready": True, "has_network": self.has_network})
        while True:
            request = self._receive()
            source = read_fields(ClipSource, request["source"])
            allow_cpu(self._limits.cpu_s)
            crash = ""
            try:
                self._serve(request, source)
            except Exception as e:  # memory, or a defect: whatever it left behind ends with it
                crash = f"{type(e).__name__}: {e}"[:500]
            if crash:  # here, where what the work held is free again
                self._send({"crash": crash})
                return

    def _serve(self, request: Header, source: ClipSource) -> None:
        try:
            if "windows" in request:
                self._predict_windows(source, *request["windows"])
            else:
                inputs = self._model.prepare(source)
                _check_memory(bool(inputs.damaged_packets or inputs.missing_s))
                header, arrays = encode_record(inputs)
                self._send({"inputs": header}, arrays)
        except ClipError as e:
            _check_memory(damaged=True)
            names = [str(path) for path in source.files]
            number = names.index(e.path) if e.path in names else 0
            self._send({"error": asdict(Failure(number, e.reason, e.cause[:2000]))})

    def _predict_windows(
        self, source: ClipSource, window_s: float, hop_s: float, parts: bool
    ) -> None:
        stream = self._model.stream(source.path, window_s, hop_s, parts)
        for window in stream:
            _check_memory(bool(stream.damage.packets))
            header, arrays = encode_record(window)
            self._send({"window": header, "state": asdict(stream.state)}, arrays)
            allow_cpu(self._limits.cpu_s)
        _check_memory(bool(stream.damage.missing_s))
        self._send({"end": True, "state": asdict(stream.state)})

    def _receive(self) -> Header:
        return read_header(self._read, trusted=True)

    def _read(self, n_bytes: int) -> bytes:
        data = self._in.read(n_bytes)
        if len(data) < n_bytes:  # the parent has closed it
            os._exit(0)
        return data

    def _send(self, header: Header, arrays: Sequence[np.ndarray] = ()) -> None:
        self._out.writelines(pack(header, arrays))
        self._out.flush()


def _check_memory(damaged: bool) -> None:
    """Raise MemoryError where the damage may come from the lack of memory."""
    if damaged and is_memory_spent():
        raise MemoryError("not enough to decode it")


def main(has_network: bool) -> None:
    """Serve on what were stdin and stdout; nothing that a library prints gets there."""
    pipe_in, pipe_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    Worker(pipe_in, pipe_out, has_network).serve()
