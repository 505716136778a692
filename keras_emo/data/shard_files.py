"""The files of a folder of shards: what lies where in one, and what is damaged."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.inference.session import available_cores
from keras_emo.progress import Progress

FORMAT = 1  # of the index and the shards; another number, another folder
INDEX = "index.json"
NAME = "S24"  # of a clip: its digest, the stem of its file in the cache
PACK_AGAIN = "delete it and run again, its clips are packed anew"


class refusing:
    """Whatever is wrong with a file of the folder becomes a ClipError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            cause = f"named in {INDEX}, but not there; run again, its clips are packed anew"
            raise ClipError(self.path, Reason.NOT_FOUND, cause) from error
        if isinstance(error, OSError):
            raise ClipError(self.path, Reason.UNREADABLE, error.strerror or str(error)) from error
        known = (ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile, struct.error)
        if isinstance(error, known):
            cause = f"damaged since it was written ({error}); {PACK_AGAIN}"
            raise ClipError(self.path, Reason.UNREADABLE, cause) from error


class Handle:
    """An open shard; closed when the last thread that reads from it has let go."""

    def __init__(self, path: Path):
        self.path = path
        with refusing(path):
            self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_into(self, out: memoryview, offset: int) -> None:
        """Fill out with the bytes from offset on."""
        try:
            while out:
                got = os.preadv(self.number, [out], offset)
                if not got:
                    raise ValueError("cut short")
                out, offset = out[got:], offset + got
        except (OSError, ValueError):
            with refusing(self.path):
                raise

    def __del__(self) -> None:
        number = self.__dict__.pop("number", None)
        if number is not None:
            os.close(number)


def locate_arrays(path: Path) -> dict[str, tuple[np.dtype, tuple[int, ...], int]]:
    """dtype, shape and offset in the file of each array of an uncompressed .npz."""
    found = {}
    with open(path, "rb") as f, zipfile.ZipFile(f) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            f.seek(member.header_offset)
            name_bytes, extra_bytes = struct.unpack("<26xHH", f.read(30))
            f.seek(name_bytes + extra_bytes, os.SEEK_CUR)
            np.lib.format.read_magic(f)
            shape, _, dtype = np.lib.format.read_array_header_1_0(f)
            found[member.filename.removesuffix(".npy")] = dtype, shape, f.tell()
    return found


def digest_file(f: Any) -> str:
    """sha256 of an open file from its beginning, in hexadecimal digits."""
    f.seek(0)
    return hashlib.file_digest(f, "sha256").hexdigest()


_verified: set[tuple[str, int, int]] = set()  # path, size, time of change


def verify_files(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Compare the sha256 of files, once for each state of a file in this process.

    Raises ClipError naming the file that is damaged.
    """

    def check(record: dict[str, Any]) -> None:
        path = folder / record["file"]
        with refusing(path), open(path, "rb") as f:
            state = os.fstat(f.fileno())
            seen = str(path), state.st_size, state.st_mtime_ns
            if seen in _verified:
                return
            if digest_file(f) != record["sha256"]:
                raise ValueError("other bytes than were written, by their sha256")
            _verified.add(seen)

    with (
        Progress("checked shards", "files") as progress,
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        for i, _ in enumerate(pool.map(check, records)):
            progress(i + 1, len(records))
