"""Packs prepared clips into shards: atomic, resumable, safe beside another that does the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.data.augment import WaveSpec
from keras_emo.data.cache import (
    Progress,
    clips_key,
    load_mfcc,
    make_folder,
    name_folder,
    naming_damage,
    voices_key,
)
from keras_emo.data.clips import stack_clips
from keras_emo.data.shard_files import FORMAT, NAME, digest_file
from keras_emo.data.shard_index import record_shards, settle_index
from keras_emo.data.shards import open_shards
from keras_emo.data.workers import run_jobs
from keras_emo.errors import ClipError, EnvironmentFailure, Reason
from keras_emo.io import open_draft
from keras_emo.spec import ClipSpec

SHARD_BYTES = 256 << 20  # of prepared files a shard, at most; a longer clip has one of its own
Write = Callable[..., dict[str, Any]]


def settle_clips(root: Path, spec: ClipSpec) -> Path:
    """The folder below root for the shards of a spec, ready to be read and added to.

    Drafts that a kill left go, and so do entries of the index whose shard is gone.
    """
    return _settle(root, "clips", _with_format(clips_key(spec)))


def settle_voices(root: Path, spec: ClipSpec, waves: WaveSpec) -> Path:
    """The same for altered voices."""
    return _settle(root, "voices", _with_format(voices_key(spec, waves)))


def pack_clips(
    files: Iterable[Path],
    spec: ClipSpec,
    root: Path,
    workers: int = 1,
    progress: Progress | None = None,
    drop: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Pack files of build_cache that are in no shard yet; returns the folder of the shards.

    workers: processes. drop: delete each file once its shard is recorded. A shard counts when
    index or journal name it, which is done after each: a kill costs the shards in work. Raises
    ClipError for a file that is damaged, EnvironmentFailure where the disk refuses.
    """
    folder = settle_clips(root, spec)
    how = (write_clip_shard, (spec,), workers, progress, drop, shard_bytes)
    return _pack(list(files), folder, *how)


def pack_voices(
    files: Iterable[Path],
    spec: ClipSpec,
    waves: WaveSpec,
    root: Path,
    workers: int = 1,
    progress: Progress | None = None,
    drop: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """The same for files of build_variants."""
    folder = settle_voices(root, spec, waves)
    how = (write_voice_shard, (), workers, progress, drop, shard_bytes)
    return _pack(list(files), folder, *how)


def plan_shards(
    files: Sequence[Path], folder: Path, shard_bytes: int = SHARD_BYTES
) -> list[list[Path]]:
    """Files that are in no shard of folder yet, in their order, a list a shard."""
    packed = open_shards(folder, verify=False)
    groups: list[list[Path]] = []
    filled = shard_bytes
    for path in dict.fromkeys(p for p in files if p.stem not in packed):
        with _naming_missing(path):
            size = path.stat().st_size
        if filled + size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(path)
        filled += size
    return groups


def write_clip_shard(folder: Path, paths: Sequence[Path], spec: ClipSpec) -> dict[str, Any]:
    """Write one shard of prepared clips; returns what record_shards is to be told of it."""
    with _naming_missing(paths[0]):
        return _write(folder, paths, stack_clips(paths, spec.audio.shape, spec.face.shape))


def write_voice_shard(folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Write one shard of altered voices; returns what record_shards is to be told of it."""
    stacks: list[np.ndarray] = []
    for path in paths:
        with _naming_missing(path), naming_damage(path):
            stack = load_mfcc(path)
            if stacks and stack.shape != stacks[0].shape:
                raise ValueError(f"shape {stack.shape}, in others {stacks[0].shape}")
        stacks.append(stack)
    counts = np.array([len(s) for s in stacks], np.int32)
    return _write(folder, paths, {"count": counts, "mfcc": np.concatenate(stacks)})


def _with_format(key: dict[str, Any]) -> dict[str, Any]:
    return {**key, "shards": FORMAT}


def _settle(root: Path, kind: str, key: dict[str, Any]) -> Path:
    folder = name_folder(root, kind, key)
    make_folder(folder)
    settle_index(folder, key)
    return folder


def _pack(
    files: list[Path],
    folder: Path,
    write: Write,
    arguments: tuple[Any, ...],
    workers: int,
    progress: Progress | None,
    drop: bool,
    shard_bytes: int,
) -> Path:
    groups = plan_shards(files, folder, shard_bytes)
    done, total = len(files) - sum(map(len, groups)), len(files)
    if progress and files:
        progress(done, total)
    jobs = [(write, folder, paths, arguments) for paths in groups]
    try:
        with closing(run_jobs(_attempt, jobs, min(workers, len(jobs)))) as results:
            for (_, _, paths, _), record in results:
                if isinstance(record, ClipError):
                    if not _dropped_by_another(record, folder, paths):
                        raise record
                else:
                    record_shards(folder, [record])
                    if drop:
                        _delete(paths)
                done += len(paths)
                if progress:
                    progress(done, total)
    except BrokenProcessPool as e:
        cause = "a worker process died, perhaps for lack of memory; try fewer workers"
        raise EnvironmentFailure(folder, Reason.WORKER_DIED, cause) from e
    settle_index(folder)
    if drop:  # also what a kill left, of shards that are whole
        packed = open_shards(folder)
        _delete(p for p in files if p.stem in packed)
    return folder


def _attempt(
    write: Write, folder: Path, paths: Sequence[Path], arguments: tuple[Any, ...]
) -> dict[str, Any] | ClipError:
    try:
        return write(folder, paths, *arguments)
    except ClipError as e:
        return e


def _write(folder: Path, paths: Sequence[Path], arrays: dict[str, Any]) -> dict[str, Any]:
    names = [p.stem for p in paths]
    path = folder / f"{hashlib.sha256(' '.join(names).encode()).hexdigest()[:24]}.npz"
    with open_draft(path) as f:  # the same clips, the same name and bytes, whoever writes them
        np.savez(f, name=np.array(names, NAME), **arrays)
        f.flush()
        digest, size = digest_file(f), os.fstat(f.fileno()).st_size
    return {
        "file": path.name,
        "clips": len(names),
        "rows": int(arrays["count"].sum()),
        "bytes": size,
        "sha256": digest,
    }


def _dropped_by_another(error: ClipError, folder: Path, paths: Sequence[Path]) -> bool:
    """Whether files are gone because another process has packed them meanwhile."""
    if error.reason is not Reason.NOT_FOUND:
        return False
    packed = open_shards(folder, verify=False)
    return all(p.stem in packed for p in paths)


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@contextmanager
def _naming_missing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        gone = isinstance(e, FileNotFoundError)
        cause = "gone while it was to be packed; run again" if gone else e.strerror or str(e)
        reason = Reason.NOT_FOUND if gone else Reason.UNREADABLE
        raise ClipError(e.filename or path, reason, cause) from e
