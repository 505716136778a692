"""Metrics in Prometheus' text format, and a log of JSON lines on stderr.

The log holds no file names, no addresses and nothing of what clients send.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

STAGES = ("upload", "wait", "decode", "network", "total")
LOGGER = logging.getLogger("keras_emo.serve")
disable_created_metrics()  # half of all lines, and nothing reads them
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LIBRARIES = ("uvicorn", "uvicorn.error", "asyncio", "python_multipart", "fastapi")


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"namespace": "keras_emo", "registry": self.registry}
        ProcessCollector(registry=self.registry)
        self.requests = Counter("requests", "Requests handled.", ["route", "code"], **own)
        self.rejected = Counter("rejected", "Requests refused.", ["reason"], **own)
        self.crashes = Counter("decoder_crashes", "Decoders that died or were killed.", **own)
        self.waiting = Gauge("queue_length", "Accepted requests without a decoder.", **own)
        self.ready = Gauge("ready", "1 while requests are accepted.", **own)
        text = "Time of a request in each stage."
        self.stage_s = Histogram("stage_seconds", text, ["stage"], buckets=_SECONDS, **own)
        text = "Prepared clips in one run of the network."
        self.batch = Histogram("batch_clips", text, buckets=(1, 2, 3, 4, 6, 8, 16), **own)
        for stage in STAGES:
            self.stage_s.labels(stage)

    def observe(self, stage: str, spent_s: float) -> None:
        """Record how long a request spent in one of STAGES."""
        self.stage_s.labels(stage).observe(spent_s)


class JsonFormatter(logging.Formatter):
    """A record as one line. Errors appear as type and source line: their text may quote input."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER.name:
            line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        else:  # a library's format string, without its arguments: they may be addresses
            line |= {"event": record.name, "text": str(record.msg).strip()}
        if record.exc_info and record.exc_info[0] is not None:
            steps = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{PurePath(s.filename).name}:{s.lineno}" for s in steps[-8:]]
        return json.dumps(line)


def configure_log(stream: TextIO) -> None:
    """Write the log of the service and of its libraries to stream, as JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    for name in (LOGGER.name, *_LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == LOGGER.name else logging.ERROR)


def log(event: str, error: BaseException | None = None, **fields: Any) -> None:
    """Write a line, as an error if there is one."""
    level = logging.INFO if error is None else logging.ERROR
    LOGGER.log(level, event, exc_info=error, extra={"fields": fields})
