"""Lines of JSON on stderr: no file names, no addresses, nothing of what was sent."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO

LOGGER = logging.getLogger("keras_emo.serve")
_OTHERS = ("uvicorn", "uvicorn.error", "asyncio", "python_multipart", "fastapi")


class JsonFormatter(logging.Formatter):
    """A record as one line; of an error its kind and place, for its text may quote anything."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER.name:
            line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        else:  # another package's text; what it fills in may be an address
            line |= {"event": record.name, "text": str(record.msg).strip()}
        if record.exc_info and record.exc_info[0] is not None:
            steps = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{PurePath(s.filename).name}:{s.lineno}" for s in steps[-8:]]
        return json.dumps(line)


def configure_log(stream: TextIO) -> None:
    """Everything the service and the packages below it say goes to stream, as JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    for name in (LOGGER.name, *_OTHERS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == LOGGER.name else logging.ERROR)


def log(event: str, **fields: Any) -> None:
    """Write a line."""
    LOGGER.info(event, extra={"fields": fields})


def log_failure(event: str, error: BaseException, **fields: Any) -> None:
    """Write a line about an error that nobody expected."""
    LOGGER.error(event, exc_info=error, extra={"fields": fields})
