"""Which clips are answered how, and in which shard: decided, and written, before the work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keras_emo.scale.answers import Maker

SCHEMA = 1
SHARD_CLIPS, SHARD_RECORDINGS = 256, 16  # a shard's length; recordings have many rows each


@dataclass(frozen=True)
class Shard:
    """Clips first to last - 1 of a plan, which become one file."""

    name: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Plan:
    """A job in bulk: the same one has the same digest, wherever and by whom it is done.

    clips: absolute paths, sorted, each once. windows: lengths of window and hop in s, or None
    for whole clips. options: what else the answers may depend on, as plain values.
    """

    clips: tuple[Path, ...]
    maker: Maker
    windows: tuple[float, float] | None
    shard_clips: int
    options: dict[str, Any]

    @cached_property
    def shards(self) -> list[Shard]:
        starts = range(0, len(self.clips), self.shard_clips)
        ends = (min(s + self.shard_clips, len(self.clips)) for s in starts)
        return [
            Shard(f"answers-{i:06d}.parquet", first, last)
            for i, (first, last) in enumerate(zip(starts, ends, strict=True))
        ]

    @cached_property
    def digest(self) -> str:
        """16 hex digits of everything but the shards' names."""
        return _digest([json.dumps(self.to_dict(), sort_keys=True)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; of the clips only how many they are, and the digest of them all."""
        return {
            "schema": SCHEMA,
            "clips": len(self.clips),
            "clips_digest": _digest(_list_sizes(self.clips)),
            "shard_clips": self.shard_clips,
            "window_s": self.windows and self.windows[0],
            "hop_s": self.windows and self.windows[1],
            "bundle": self.maker.bundle,
            "version": self.maker.version,
            **self.options,
        }


def make_plan(
    clips: Iterable[Path],
    maker: Maker,
    windows: tuple[float, float] | None,
    shard_clips: int | None,
    options: dict[str, Any],
) -> Plan:
    """The plan for clips in any order; shard_clips: None for what suits."""
    paths = sorted({os.path.abspath(p) for p in clips})
    length = shard_clips or (SHARD_CLIPS if windows is None else SHARD_RECORDINGS)
    return Plan(tuple(map(Path, paths)), maker, windows, length, options)


def _list_sizes(clips: Iterable[Path]) -> Iterator[str]:
    """A line a clip; one that is written anew has another, most likely, and so is another job."""
    for path in clips:
        try:
            yield f"{path}\0{path.stat().st_size}"
        except OSError:  # it is to fail, but for the worker
            yield f"{path}\0"


def _digest(lines: Iterable[str]) -> str:
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode(errors="surrogateescape") + b"\n")
    return total.hexdigest()[:16]
