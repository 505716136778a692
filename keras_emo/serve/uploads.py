"""Uploads: counted and timed as they arrive, kept in a private folder, removed with the request."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from keras_emo.errors import EnvironmentFailure, Reason, translate_errors
from keras_emo.serve.refusals import Refusal, RefusalReason
from keras_emo.serve.settings import Settings

PREFIX = "keras_emo-uploads-"
FIELD = "file"
_LOCK = "lock"
_NO_NAME, _MAX_NAME = "upload", 255  # characters
_BLOCK = 1 << 20  # bytes copied at once


@dataclass(frozen=True)
class Upload:
    """A complete file. name: the client's own name for it."""

    path: Path
    name: str


class UploadFolder:
    """A private folder in the system's temporary folder, locked while the service runs.

    Folders of services that died are removed when another one starts. Raises
    EnvironmentFailure if no folder can be made.
    """

    def __init__(self, parent: Path | None = None):
        self._numbers = count()
        parent = parent or Path(tempfile.gettempdir())
        with translate_errors(EnvironmentFailure, parent, Reason.WRITE_FAILED):
            remove_leftovers(parent)
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            new = self.path / "new"
            self._lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self.path / _LOCK)  # a folder without a lock is no leftover

    def close(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    @asynccontextmanager
    async def receive(self, request: Request, settings: Settings) -> AsyncIterator[Upload]:
        """The file of a multipart form, which exists while the block runs. Raises Refusal."""
        path = self.path / str(next(self._numbers))
        try:
            name = await _store_file(request, settings, path)
            yield Upload(path, name)
        finally:
            path.unlink(missing_ok=True)


class _FileForm(MultiPartParser):
    """Starlette's parser, which does not check by itself that the form is complete."""

    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


async def _store_file(request: Request, settings: Settings, path: Path) -> str:
    """Write the form's only file to path, and return its name."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refusal(RefusalReason.BAD_REQUEST, "expected multipart/form-data")
    body = read_body(request, settings, settings.max_upload_bytes)
    parser = _FileForm(request.headers, body, max_files=1, max_fields=0)
    form = FormData()
    try:
        with translate_errors(EnvironmentFailure, "upload", Reason.WRITE_FAILED):
            form = await parser.parse()  # the file has no name in the file system yet
            upload = form.get(FIELD)
            if not parser.is_complete:
                raise MultiPartException("the form ends early")
            if not isinstance(upload, UploadFile):
                raise MultiPartException(f"the form has no file {FIELD!r}")
            with open(path, "xb", opener=partial(os.open, mode=0o600)) as file:
                await asyncio.to_thread(shutil.copyfileobj, upload.file, file, _BLOCK)
            return clean_name(upload.filename or "")
    except MultiPartException as e:
        raise Refusal(RefusalReason.BAD_REQUEST, e.message) from None
    finally:
        await form.close()


def clean_name(name: str) -> str:
    """A client's file name without folders and control characters; a default if nothing remains."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name[-_MAX_NAME:] or _NO_NAME


async def read_body(request: Request, settings: Settings, limit: int) -> AsyncGenerator[bytes]:
    """Blocks of a request's body, at most limit bytes in total.

    Raises Refusal: upload_limit, slow_upload if it stalls or trickles, disconnected.
    """
    check_length(request, limit)
    start_s, n_bytes = time.monotonic(), 0
    while True:
        allowed_s = settings.stall_s + n_bytes / settings.min_rate
        left_s = min(settings.stall_s, start_s + allowed_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                message = await request.receive()
        except TimeoutError:
            cause = f"{n_bytes} bytes came in {time.monotonic() - start_s:.1f} s"
            raise Refusal(RefusalReason.SLOW_UPLOAD, cause) from None
        if message["type"] == "http.disconnect":
            raise Refusal(RefusalReason.DISCONNECTED, "the client has disconnected")
        block = message.get("body", b"")
        n_bytes += len(block)
        _check_size(n_bytes, limit)
        yield block
        if not message.get("more_body", False):
            return


def check_length(request: Request, limit: int) -> None:
    """Refuse a body whose declared length exceeds the limit, before any of it is read."""
    length = request.headers.get("content-length", "0")
    _check_size(int(length) if length.isdecimal() else 0, limit)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(RefusalReason.BAD_REQUEST, "compressed bodies are not accepted")


def _check_size(n_bytes: int, limit: int) -> None:
    if n_bytes > limit:
        raise Refusal(RefusalReason.UPLOAD_LIMIT, f"more than {limit} bytes")


def remove_leftovers(parent: Path) -> None:
    """Remove folders of this user whose lock nobody holds."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            info = path.lstat()
            if info.st_uid != os.geteuid() or not path.is_dir() or path.is_symlink():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile, or not one of ours
            continue
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
