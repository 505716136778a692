"""Prepared clips packed into a few large files, read at random without holding them in memory.

A shard is an .npz whose members are stored, not compressed, so that a row of an array lies at a
known place of the file. It is read by pread, not by memory map: several threads may, a file cut
short is an error instead of SIGBUS, a million clips need no million pages of the process, and
the number of open files is bounded. Index and journal, see shard_index, name every shard that
counts; a file beside them that is not named there is a leftover.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.arrays import read_arrays
from keras_emo.data.shard_files import (
    INDEX,
    NAME,
    Handle,
    locate_arrays,
    refusing,
    verify_files,
)
from keras_emo.data.shard_index import read_index
from keras_emo.errors import ClipError

OPEN_FILES = 256  # at most, of one set of shards


@dataclass
class Layout:
    """Where one array lies: dtype and shape of a row, and its first byte in each shard."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offsets: np.ndarray  # int64 (n_shards,)

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


class Shards:
    """All shards of a folder, about 60 bytes of memory a clip.

    Clips are numbered through. names: their digests, sorted, of the clips ``order``. shard, row:
    int32 (n_clips,), which shard and which clip of it. first, count: where its rows are in the
    arrays that hold several a clip (crops, altered voices). has_voice: bool (n_clips,).
    """

    def __init__(self, folder: Path, records: Sequence[dict[str, Any]]):
        self.folder = folder
        self.files = [folder / r["file"] for r in records]
        self.layouts: dict[str, Layout] = {}
        parts: dict[str, list[np.ndarray]] = {k: [] for k in ("name", "count", "info", "voice")}
        for i, record in enumerate(records):
            self._take_up(i, record, parts)
        joined = {k: np.concatenate(v) if v else np.zeros(0, NAME) for k, v in parts.items()}
        self.shard = np.repeat(
            np.arange(len(records), dtype=np.int32), [r["clips"] for r in records]
        )
        starts = [np.arange(r["clips"], dtype=np.int32) for r in records]
        self.row = np.concatenate(starts) if starts else np.zeros(0, np.int32)
        self.count, self.first = joined["count"].astype(np.int32), _starts(parts["count"])
        self.info_count, self.info_first = joined["info"].astype(np.int32), _starts(parts["info"])
        self.has_voice = joined["voice"].astype(bool)
        self.order = np.argsort(joined["name"], kind="stable").astype(np.int32)
        self.names = joined["name"][self.order]
        self.failure: ClipError | None = None  # of the last read: tf.data hides what it was
        self._handle = lru_cache(OPEN_FILES)(self._open)

    def _take_up(self, i: int, record: dict[str, Any], parts: dict[str, list[np.ndarray]]) -> None:
        path, n_shards = self.files[i], len(self.files)
        with refusing(path):
            small = read_arrays(path, "name", "count", "info_count", "has_voice")
            names, counts = small["name"], small["count"]
            if len(names) != record["clips"] or int(counts.sum()) != record["rows"]:
                raise ValueError(f"{len(names)} clips, {record['clips']} in {INDEX}")
            for name, (dtype, shape, offset) in locate_arrays(path).items():
                layout = self.layouts.setdefault(
                    name, Layout(dtype, shape[1:], np.zeros(n_shards, np.int64))
                )
                if name not in small and (dtype, shape[1:]) != (layout.dtype, layout.shape):
                    raise ValueError(f"{name} is {dtype} {shape[1:]}, in others {layout.shape}")
                layout.offsets[i] = offset
        parts["name"].append(names)
        parts["count"].append(counts)
        parts["info"].append(small.get("info_count", np.zeros(len(names), np.int32)))
        parts["voice"].append(small.get("has_voice", np.ones(len(names), bool)))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find([name])[0] >= 0

    def find(self, names: Sequence[str]) -> np.ndarray:
        """Numbers of the clips with these digests, int64 (n,), -1 where there is none."""
        wanted = np.array(names, NAME)
        if not len(self):
            return np.full(len(wanted), -1, np.int64)
        places = np.minimum(np.searchsorted(self.names, wanted), len(self) - 1)
        return np.where(self.names[places] == wanted, self.order[places], -1).astype(np.int64)

    def read(self, array: str, shard: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Rows of an array, (n, ...): row[i] of the shard shard[i].

        Raises ClipError naming the shard where it cannot be read to the end.
        """
        try:
            return self._read(array, shard, row)
        except ClipError as e:
            self.failure = e
            raise

    def _read(self, array: str, shard: np.ndarray, row: np.ndarray) -> np.ndarray:
        layout = self.layouts[array]
        out = np.empty((len(row), *layout.shape), layout.dtype)
        if not out.size:
            return out
        raw = memoryview(out.reshape(-1).view(np.uint8).data)
        breaks = (np.diff(shard) != 0) | (np.diff(row) != 1)  # rows in sequence are read at once
        starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        sizes = np.diff(np.append(starts, len(row))) * layout.row_bytes
        chosen = shard[starts]
        offsets = layout.offsets[chosen] + row[starts].astype(np.int64) * layout.row_bytes
        handles = [self._handle(i) for i in chosen.tolist()]
        jobs = list(zip(handles, offsets.tolist(), sizes.tolist(), strict=True))
        if hasattr(os, "posix_fadvise") and len(jobs) > 1:  # so that the disk has all to do at once
            for handle, offset, size in jobs:
                os.posix_fadvise(handle.number, offset, size, os.POSIX_FADV_WILLNEED)
        start = 0
        for handle, offset, size in jobs:
            handle.read_into(raw[start : start + size], offset)
            start += size
        return out

    def _open(self, i: int) -> Handle:
        return Handle(self.files[i])


def open_shards(folder: Path, verify: bool = True) -> Shards:
    """The shards that a folder's index names.

    Every file must be there and of the recorded size; with verify its sha256 is compared too,
    once for each state of a file in this process. Raises ClipError naming the file that is
    missing or damaged, UsageError for an index that is.
    """
    records = read_index(folder)["shards"]
    for record in records:
        path = folder / record["file"]
        with refusing(path):
            size = path.stat().st_size
            if size != record["bytes"]:
                raise ValueError(f"{size} bytes, {record['bytes']} when written")
    if verify:
        verify_files(folder, records)
    return Shards(folder, records)


def _starts(counts: Sequence[np.ndarray]) -> np.ndarray:
    """First row of each clip within its shard, int32 (n_clips,)."""
    parts = [np.cumsum(c, dtype=np.int32) - c.astype(np.int32) for c in counts]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
