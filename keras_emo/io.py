"""Files: written whole or not at all, read with errors that name them, told apart by sha256."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from keras_emo.errors import (
    EnvironmentFailure,
    Reason,
    UsageError,
    describe_error,
    translate_errors,
)

if TYPE_CHECKING:
    import numpy as np

DRAFT = ".part-"
CONTENT_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error)

_UMASK = os.umask(0)  # can only be read by setting it
os.umask(_UMASK)


@contextmanager
def open_draft(path: Path, suffix: str = "") -> Iterator[BinaryIO]:
    """A temporary file beside path that takes its place when the block ends well.

    Its name, file.name, ends in suffix. File and folder are synced, so that a power cut leaves
    the old file or the new one. Raises EnvironmentFailure where the disk refuses; the old file
    stays then, as after any other exception, and the draft is removed.
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
    except BrokenPipeError:  # stderr's reader, not this file
        raise
    except OSError as e:
        name = path if e.filename is None or DRAFT in str(e.filename) else e.filename
        raise EnvironmentFailure(name, Reason.WRITE_FAILED, describe_error(e)) from e
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path of the same suffix, for a writer that opens files by name, see open_draft.

    Missing parent folders are created; of a link, the file it leads to is replaced.
    """
    with open_draft(_find_target(path), path.suffix) as f:
        yield Path(f.name)


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """stdout, or a text file that replaces path once all is written, see replace_file.

    What was written before a failure of anything but the disk, an interrupt among them, is kept.
    A device or a pipe is written to as it is.
    """
    if path is None:
        yield sys.stdout
        return
    target = _find_target(path)
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with (
            translate_errors(EnvironmentFailure, path, Reason.WRITE_FAILED),
            open(target, "w", encoding="utf-8", errors="backslashreplace") as f,
        ):
            yield f
        return
    failure: BaseException | None = None
    with open_draft(target) as draft:
        f = io.TextIOWrapper(draft, encoding="utf-8", errors="backslashreplace")
        try:
            yield f
        except OSError:
            raise
        except BaseException as e:
            if not f.tell():
                raise
            failure = e
        finally:
            f.detach()
    if failure is not None:
        raise failure


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step, see open_draft."""
    with open_draft(path) as f:
        f.write(text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write plain values as JSON in one step."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """A place of the same name to fill beside a folder, removed unless it was renamed.

    It lies in a hidden folder, so that a program that watches the place never sees half of it.
    Raises EnvironmentFailure, also for what fails to be written within the block.
    """
    with translate_errors(EnvironmentFailure, folder, Reason.WRITE_FAILED):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as name:
            yield Path(name, folder.name)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents. Raises EnvironmentFailure where the disk refuses."""
    with translate_errors(EnvironmentFailure, folder, Reason.WRITE_FAILED):
        folder.mkdir(parents=True, exist_ok=True)


def read_record(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises UsageError naming it where it cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(path, Reason.NOT_FOUND, "no such file") from None
    except OSError as e:
        raise UsageError(path, Reason.UNREADABLE, describe_error(e)) from None
    except (ValueError, RecursionError) as e:
        raise UsageError(path, Reason.BAD_CONFIG, f"not readable as JSON: {e}") from None
    with naming_content(path):
        if not isinstance(data, dict):
            raise ValueError(f"it holds a {type(data).__name__}")
    return data


def naming_content(path: Path, advice: str = "") -> AbstractContextManager[None]:
    """Whatever the content of a file lacks becomes a UsageError. advice: what to do about it."""
    cause = "not as it was written ({})" + (f"; {advice}" if advice else "")
    return translate_errors(UsageError, path, Reason.UNREADABLE, *CONTENT_ERRORS, cause=cause)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; checksums are compared.

    The file may be damaged or malicious. Raises ValueError for its content, OSError where it
    cannot be opened.
    """
    import numpy as np  # here, so that parsing options does not wait for it

    with open(path, "rb") as f:
        try:
            with np.load(f, allow_pickle=False) as data:
                arrays = dict(data)
        except Exception as e:  # zipfile and NumPy raise a dozen kinds, tokenize.TokenError too
            raise ValueError(f"{type(e).__name__}: {e}") from e
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy hands other members on as bytes
            raise ValueError(f"{name} is no array")
    return arrays


def digest_file(path: Path) -> str:
    """sha256 of a file's content, hexadecimal."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def digest_text(text: str) -> str:
    """sha256 of a text as UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def sweep_drafts(folder: Path) -> None:
    """Remove drafts that a kill left in a folder; one that is being written stays."""
    for path in folder.glob(f"{DRAFT}*"):
        with suppress(OSError), open(path, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its writer holds it while alive
            path.unlink(missing_ok=True)


def _find_target(path: Path) -> Path:
    """Where a file is to be put: a link stays a link."""
    make_folder(path.parent)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise EnvironmentFailure(path, Reason.WRITE_FAILED, "a folder of this name exists")
    return target


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
