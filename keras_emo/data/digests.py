"""Clips are named by their content; files that did not change are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from keras_emo.io import digest_file, write_text
from keras_emo.media.reader import ClipSource, check_file

DIGESTS = "digests.json"
FORMAT = 1
SETTLED_S = 2.0  # a file younger than that may change again without a new time of change


def digest_source(source: ClipSource, digest: Callable[[Path], str] = digest_file) -> str:
    """sha256 over the role and the content of each file of a clip, 24 hex digits.

    Raises ClipError for a file that check_file refuses.
    """
    total = hashlib.sha256()
    roles = [("video", source.video), ("audio", source.audio)]
    for role, path in (*roles, *(("frame", p) for p in source.frames)):
        if path is not None:
            total.update(role.encode() + bytes.fromhex(digest(check_file(path))))
    return total.hexdigest()[:24]


class Digests:
    """digest_file, from memory for files in the state in which they were read before.

    State: path, size, inode, time of change of the content and of the file's record, in ns.
    Delete digests.json to have every file read again.
    """

    def __init__(self, folder: Path):
        self.path = folder / DIGESTS
        self._known = self._read()
        self._new: dict[str, list[int | str]] = {}

    def __call__(self, path: Path) -> str:
        name, state = os.path.abspath(path), _state(path)
        known = self._known.get(name)
        if isinstance(known, list) and known[:-1] == state:
            return str(known[-1])
        asked_ns = time.time_ns()
        digest = digest_file(path)
        changed_ns = max(state[2:])
        if _state(path) == state and asked_ns - changed_ns > SETTLED_S * 1e9:
            self._new[name] = [*state, digest]
        return digest

    def save(self) -> None:
        """Keep what was read anew, beside what others kept meanwhile; not in a read-only folder.

        Raises EnvironmentFailure where the disk refuses.
        """
        if not self._new or not os.access(self.path.parent, os.W_OK):
            return
        self._known = {**self._read(), **self._new}
        self._new = {}
        # ASCII, as names may hold bytes that are no text
        write_text(self.path, json.dumps({"format": FORMAT, "files": self._known}) + "\n")

    def _read(self) -> dict[str, Any]:
        """What is known; nothing where the file is damaged, since all of it can be read again."""
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["format"] == FORMAT:
                return dict(data["files"])
        return {}


def _state(path: Path) -> list[int]:
    s = os.stat(path)
    return [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns]
