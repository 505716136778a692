"""A folder of answers: the plan, and a Parquet file for each shard that is finished."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from keras_emo.errors import ClipTimeout, EnvironmentFailure, Reason, UsageError
from keras_emo.io import DRAFT, open_draft, read_json, sweep_drafts, write_json
from keras_emo.scale.answers import ClipAnswer
from keras_emo.scale.plan import Plan, Shard

PLAN = "_plan.json"  # readers of a folder of Parquet pass over names that begin so
_KEY = b"keras_emo"  # of a file's own metadata


@dataclass
class Counts:
    """How many clips were answered, failed, failed by taking too long, were answered in part."""

    answered: int = 0
    failed: int = 0
    late: int = 0
    degraded: int = 0

    def add(self, other: Counts) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Store:
    """The shards of a plan in its folder, see open_store."""

    def __init__(self, folder: Path, plan: Plan):
        self.folder, self.plan = folder, plan

    def find_finished(self) -> dict[Shard, Counts]:
        """Shards whose file is there and whole."""
        found = {}
        for shard in self.plan.shards:
            counts = self._read_counts(shard)
            if counts is not None:
                found[shard] = counts
        return found

    def write(self, shard: Shard, answers: Sequence[ClipAnswer]) -> Counts:
        """Write a shard's file in one step, given the answers to its clips in order."""
        counts = count_answers(answers)
        table = pa.concat_tables([a.table for a in answers])
        note = {"plan": self.plan.digest, "clips": len(shard), **asdict(counts)}
        table = table.replace_schema_metadata({_KEY: json.dumps(note)})
        with open_draft(self.folder / shard.name) as f:
            pq.write_table(table, f, compression="zstd")
        return counts

    def _read_counts(self, shard: Shard) -> Counts | None:
        path = self.folder / shard.name
        try:
            note = json.loads((pq.read_schema(path).metadata or {})[_KEY])
            if (note["plan"], note["clips"]) != (self.plan.digest, len(shard)):
                return None
            return Counts(**{f.name: int(note[f.name]) for f in fields(Counts)})
        except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: done anew
            return None


@contextmanager
def open_store(folder: Path, plan: Plan) -> Iterator[Store]:
    """A plan's folder, held for this process; the plan is written if the folder is new.

    Raises UsageError for a folder of other files, of another plan or in use, EnvironmentFailure
    where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    try:
        _lock(folder, lock)
        sweep_drafts(folder)
        _agree(folder, plan)
        yield Store(folder, plan)
    finally:
        os.close(lock)


def count_answers(answers: Sequence[ClipAnswer]) -> Counts:
    """What became of clips."""
    errors = [a.error for a in answers if a.error is not None]
    return Counts(
        answered=len(answers) - len(errors),
        failed=len(errors),
        late=sum(isinstance(e, ClipTimeout) for e in errors),
        degraded=sum(a.degraded for a in answers),
    )


def _lock(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        cause = "another process writes answers into it"
        raise UsageError(folder, Reason.BAD_CONFIG, cause) from None
    except OSError:  # a file system without locks: two at once do work twice, no harm
        pass


def _agree(folder: Path, plan: Plan) -> None:
    """Write the plan, or raise UsageError where the folder holds another's answers."""
    path = folder / PLAN
    if path.exists():
        there, asked = read_json(path), plan.to_dict()
        if not isinstance(there, dict):
            raise UsageError(path, Reason.BAD_CONFIG, "not a plan")
        differing = [k for k in {**there, **asked} if there.get(k) != asked.get(k)]
        differing = [k for k in differing if k != "shards"]
        if differing:
            what = ", ".join(_NAMES.get(k, k) for k in differing)
            cause = f"it holds answers of another job (other: {what}); name another folder"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        return
    if any(not p.name.startswith(DRAFT) for p in folder.iterdir()):
        cause = "a folder with other files; name a new one, or one with answers to the same clips"
        raise UsageError(folder, Reason.BAD_CONFIG, cause)
    shards = [{"file": s.name, "clips": len(s)} for s in plan.shards]
    write_json(path, {**plan.to_dict(), "shards": shards})


_NAMES = {"clips": "number of clips", "clips_digest": "clips or their sizes"}
