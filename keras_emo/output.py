"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from keras_emo.errors import EnvironmentFailure, Reason


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that replaces ``path`` once all is written.

    Entering proves that the folder takes a file. When the work fails before anything is
    written, or the disk refuses, the old file stays; what was written before another failure,
    an interrupt among them, is delivered. Raises EnvironmentFailure.
    """
    if path is None:
        yield sys.stdout
        return
    with _failing_as(path):
        target = _find_target(path)
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with open(target, "w", encoding="utf-8", errors="backslashreplace") as f:
                yield f  # a device or a pipe cannot be replaced
            return
        with _replacing(target) as f:
            yield f


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path, of the same suffix and folder, that replaces ``path`` at the end.

    Entering proves that the folder takes a file. After any failure, an interrupt among them,
    the old file stays. Raises EnvironmentFailure.
    """
    with _failing_as(path):
        target = _find_target(path)
        handle, name = tempfile.mkstemp(".part" + path.suffix, ".part-", target.parent)
        try:
            os.close(handle)
            yield Path(name)
            with open(name, "rb") as f:
                _put_in_place(f.fileno(), name, target)
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def _failing_as(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # stderr's reader, not this file
        raise
    except OSError as e:
        name = path if e.filename is None or ".part-" in str(e.filename) else e.filename
        raise EnvironmentFailure(name, Reason.WRITE_FAILED, e.strerror or str(e)) from e


def _find_target(path: Path) -> Path:
    """Where a file is to be put: a link stays a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(0, "a folder of this name exists", str(path))
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    handle, name = tempfile.mkstemp(prefix=".part-", dir=target.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as f:
            try:
                yield f
            except OSError:
                raise
            except BaseException:
                if f.tell():
                    f.flush()
                    _put_in_place(f.fileno(), name, target)
                raise
            f.flush()
            _put_in_place(f.fileno(), name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _put_in_place(handle: int, name: str, target: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)  # mkstemp lets nobody else read
    os.fsync(handle)
    os.replace(name, target)
