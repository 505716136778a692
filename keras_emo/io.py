"""Files that are whole or not there: a draft in the same folder, synced, then put in place."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from keras_emo.errors import EnvironmentFailure, Reason, UsageError

DRAFT = ".part-"

_UMASK = os.umask(0)  # can only be read by setting it
os.umask(_UMASK)


@contextmanager
def open_draft(path: Path, suffix: str = "") -> Iterator[BinaryIO]:
    """A temporary file beside path that takes its place when the block ends well.

    Its name, file.name, ends in suffix. File and folder are synced, so that a power cut leaves
    the old file or the new one. Raises EnvironmentFailure where the disk refuses; the old file
    stays then, as after any other exception, and the draft goes.
    """
    draft: Path | None = None
    try:
        with _create_draft(path.parent, suffix) as f:
            draft = Path(f.name)
            yield f
            f.flush()
            os.fchmod(f.fileno(), 0o666 & ~_UMASK)  # mkstemp lets nobody else read
            os.fsync(f.fileno())
            os.replace(draft, path)
        draft = None
        _sync_folder(path.parent)
    except OSError as e:
        raise EnvironmentFailure(path, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def write_atomic(path: Path, write: Callable[[Any], None]) -> None:
    """Call write(file) on a draft, then put it in place, see open_draft."""
    with open_draft(path) as f:
        write(f)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step, see open_draft."""
    write_atomic(path, lambda f: f.write(text.encode()))


def write_json(path: Path, data: Any) -> None:
    """Write plain values as JSON in one step."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """A place of the same name to fill beside a folder, swept away unless it was renamed.

    It lies in a hidden folder: whoever watches the place never sees half of it. Raises
    EnvironmentFailure, also for what fails to be written within the block.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as name:
            yield Path(name, folder.name)
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UsageError naming it where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(path, Reason.NOT_FOUND, "no such file") from None
    except OSError as e:
        raise UsageError(path, Reason.UNREADABLE, e.strerror or str(e)) from None
    except (ValueError, RecursionError) as e:
        raise UsageError(path, Reason.BAD_CONFIG, f"not readable as JSON: {e}") from None


def read_record(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises UsageError as read_json, and for anything else."""
    data = read_json(path)
    with naming_content(path):
        if not isinstance(data, dict):
            raise ValueError(f"it holds a {type(data).__name__}")
    return data


@contextmanager
def naming_content(path: Path, advice: str = "") -> Iterator[None]:
    """Whatever the content of a file lacks becomes a UsageError. advice: what to do about it."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as e:
        what = f"no {e}" if isinstance(e, KeyError) else str(e)
        cause = f"not as it was written ({what})" + (f"; {advice}" if advice else "")
        raise UsageError(path, Reason.UNREADABLE, cause) from e


def sweep_drafts(folder: Path) -> None:
    """Remove drafts that a kill left in a folder; one that is being written is let be."""
    for path in folder.glob(f"{DRAFT}*"):
        with suppress(OSError), open(path, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its writer holds it while alive
            path.unlink(missing_ok=True)


def _create_draft(folder: Path, suffix: str) -> BinaryIO:
    while True:
        handle, name = tempfile.mkstemp(prefix=DRAFT, suffix=suffix, dir=folder)
        os.close(handle)
        try:
            f = open(name, "r+b")  # noqa: SIM115  # by name, which Keras needs
        except FileNotFoundError:
            continue  # swept before it was locked
        with suppress(OSError):  # a file system without locks sweeps too eagerly, no more
            fcntl.flock(f, fcntl.LOCK_EX)
        if os.fstat(f.fileno()).st_nlink:
            return f
        f.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise
    finally:
        os.close(handle)
