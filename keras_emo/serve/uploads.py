"""Uploads on disk: in a folder of the service's own, gone once the request is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from starlette.requests import Request

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.serve.body import read_body
from keras_emo.serve.form import FileForm
from keras_emo.serve.settings import Settings

PREFIX = "keras_emo-uploads-"
_LOCK = "lock"
_BLOCK = 1 << 20  # bytes between writes


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole. name: the client's own, or None."""

    path: Path
    name: str | None
    n_bytes: int


class UploadFolder:
    """A private folder below the system's temporary one, held by a lock while we live.

    Folders whose service has died are removed when another one starts. Raises
    EnvironmentFailure where none can be made.
    """

    def __init__(self, parent: Path | None = None):
        self._numbers = count()
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        try:
            remove_leftovers(parent)
            self.path, self._lock = _make_folder(parent)
        except OSError as e:
            raise EnvironmentFailure(parent, Reason.WRITE_FAILED, e.strerror or str(e)) from None

    def close(self) -> None:
        """Remove it and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    @asynccontextmanager
    async def receive(self, request: Request, settings: Settings) -> AsyncIterator[Upload]:
        """The file of a multipart form, here for as long as the block lasts. Raises Refusal."""
        form = FileForm(request.headers.get("content-type", ""), settings.max_parts)
        path = self.path / f"{next(self._numbers)}"
        try:
            n_bytes = await _write_file(request, settings, form, path)
            yield Upload(path, form.name, n_bytes)
        finally:
            path.unlink(missing_ok=True)


async def _write_file(request: Request, settings: Settings, form: FileForm, path: Path) -> int:
    n_bytes = 0
    try:
        with open(path, "xb", buffering=0, opener=_open_private) as file:
            async for block in read_body(request, settings, settings.max_upload_bytes):
                form.write(block)
                if len(form.pending) >= _BLOCK:
                    n_bytes += await asyncio.to_thread(_flush, file, form.pending)
            form.finish()
            n_bytes += await asyncio.to_thread(_flush, file, form.pending)
    except OSError as e:
        raise EnvironmentFailure("upload", Reason.WRITE_FAILED, e.strerror or str(e)) from None
    return n_bytes


def _flush(file, pending: bytearray) -> int:
    rest = memoryview(bytes(pending))
    pending.clear()
    n_bytes = len(rest)
    while len(rest):
        rest = rest[file.write(rest) :]
    return n_bytes


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_folder(parent: Path) -> tuple[Path, int]:
    for _ in range(10):
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # another service is just taking it for a leftover
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path / _LOCK), os.fstat(lock)):
                return path, lock
        os.close(lock)
    raise OSError("no folder for uploads")


def remove_leftovers(parent: Path) -> int:
    """Remove folders of this user whose lock nobody holds; how many there were."""
    n_removed = 0
    for path in parent.glob(f"{PREFIX}*"):
        try:
            info = path.lstat()
            if info.st_uid != os.geteuid() or not path.is_dir() or path.is_symlink():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or not one of ours
            continue
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            n_removed += 1
        os.close(lock)
    return n_removed
