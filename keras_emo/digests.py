"""What clips are named by, their content; files that did not change are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from keras_emo.io import write_text
from keras_emo.media.reader import ClipSource, check_file

DIGESTS = "digests.json"
FORMAT = 1
SETTLED_S = 2.0  # a file younger than that may change again without a new time of change


def digest_content(path: Path) -> bytes:
    """sha256 of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").digest()


def digest_source(source: ClipSource, digest: Callable[[Path], bytes] = digest_content) -> str:
    """sha256 over what each file of a clip serves as and its content, 24 hex digits.

    Raises ClipError for a file that check_file refuses.
    """
    total = hashlib.sha256()
    roles = [("video", source.video), ("audio", source.audio)]
    for role, path in (*roles, *(("frame", p) for p in source.frames)):
        if path is None:
            continue
        total.update(role.encode())
        total.update(digest(check_file(path)))
    return total.hexdigest()[:24]


class Digests:
    """digest_content, from memory for files in the state in which they were read before.

    State: path, size, inode, time of change of the content and of the file's record, in ns. Who
    can set the clock back, or writes to the disk below the file system, can pass another content
    off as the old one; delete digests.json to have every file read.
    """

    def __init__(self, folder: Path):
        self.path = folder / DIGESTS
        self._known = _read(self.path)
        self._new: dict[str, list[int | str]] = {}

    def __call__(self, path: Path) -> bytes:
        name, state = os.path.abspath(path), _state(path)
        if (found := self._known.get(name)) and found[:-1] == state:
            return bytes.fromhex(str(found[-1]))
        asked_ns = time.time_ns()
        content = digest_content(path)
        changed_ns = max(state[2:])
        if _state(path) == state and asked_ns - changed_ns > SETTLED_S * 1e9:
            self._new[name] = [*state, content.hex()]
        return content

    def save(self) -> None:
        """Keep what was read anew, beside what others kept meanwhile; not in a read-only folder.

        Raises EnvironmentFailure where the disk refuses.
        """
        if not self._new or not os.access(self.path.parent, os.W_OK):
            return
        self._known = {**_read(self.path), **self._new}
        self._new = {}
        # ASCII, as names may hold bytes that are no text
        write_text(self.path, json.dumps({"format": FORMAT, "files": self._known}) + "\n")


def _state(path: Path) -> list[int]:
    s = os.stat(path)
    return [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns]


def _read(path: Path) -> dict[str, list[int | str]]:
    """What is known; nothing where the file is damaged, since all of it can be read again."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == FORMAT:
            return {name: row for name, row in data["files"].items() if _is_row(row)}
    return {}


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 5 or not isinstance(row[-1], str):
        return False
    with suppress(ValueError):
        return len(bytes.fromhex(row[-1])) == hashlib.sha256().digest_size
    return False
