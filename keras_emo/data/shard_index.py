"""Which shards of a folder count: index.json, and the journal of those finished since.

A finished shard is one more line of the journal, so that recording it costs the same however
many there are. The journal becomes part of the index when packing begins and ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from keras_emo.data.shard_files import FORMAT, INDEX, refusing
from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.io import read_json, write_json

JOURNAL = "journal.jsonl"
RECORD = {"file": str, "clips": int, "rows": int, "bytes": int, "sha256": str}
Record = dict[str, Any]


def read_index(folder: Path) -> dict[str, Any]:
    """The index with the journal's shards; nothing in it where there is no folder.

    The journal's last line counts once it is whole. Raises UsageError or ClipError for a file
    that is damaged, or of another format.
    """
    recent = _read_journal(folder / JOURNAL)  # first: what leaves it is in the index by then
    path = folder / INDEX
    index: dict[str, Any] = {"format": FORMAT, "shards": []}
    if path.exists():
        index = read_json(path)
        with refusing(path):
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']}, this version reads {FORMAT}")
            for record in index["shards"]:
                _check_record(record)
    if recent:
        known = {r["file"]: r for r in (*index["shards"], *recent)}
        index = {**index, "shards": list(known.values())}
    return index


def record_shards(folder: Path, records: Sequence[Record]) -> None:
    """Name finished shards in the journal. Raises EnvironmentFailure where the disk refuses."""
    path = folder / JOURNAL
    lines = "".join(json.dumps(r) + "\n" for r in records).encode()
    try:
        with _locked(folder), open(path, "a+b") as f:
            _drop_torn_line(f)
            f.write(lines)
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise EnvironmentFailure(path, Reason.WRITE_FAILED, e.strerror or str(e)) from e


def settle_index(folder: Path, key: dict[str, Any] | None = None) -> None:
    """Take the journal into the index, and leave out shards whose file is gone.

    key: what decides the content, for an index that is new.
    """
    with _locked(folder):
        before = read_index(folder)
        there = [r for r in before["shards"] if (folder / r["file"]).exists()]
        index = {
            "format": FORMAT,
            "key": before.get("key", key),
            "clips": sum(r["clips"] for r in there),
            "rows": sum(r["rows"] for r in there),
            "bytes": sum(r["bytes"] for r in there),
            "shards": there,
        }
        if index != before:
            write_json(folder / INDEX, index)
        (folder / JOURNAL).unlink(missing_ok=True)  # last: a kill in between repeats, no more


def _read_journal(path: Path) -> list[Record]:
    with refusing(path):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]  # a kill tears the last at most
        except FileNotFoundError:
            return []
        records = [json.loads(line) for line in lines]
        for record in records:
            _check_record(record)
    return records


def _check_record(record: Record) -> None:
    if any(type(record[k]) is not kind for k, kind in RECORD.items()):
        raise ValueError("an entry of another kind")
    if "/" in record["file"]:
        raise ValueError(f"a shard elsewhere: {record['file']}")


def _drop_torn_line(f: Any) -> None:
    """Cut a journal after its last whole line."""
    size = f.seek(0, os.SEEK_END)
    if size:
        f.seek(-1, os.SEEK_END)
        if f.read(1) != b"\n":
            f.seek(0)
            f.truncate(f.read().rfind(b"\n") + 1)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; on a file system without locks a shard may be packed twice."""
    with open(folder / ".lock", "w") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
