"""Prepared clips of one part of the split, side by side as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_emo.arrays import read_arrays
from keras_emo.data.cache import count_crops, load_mfcc, naming_damage, unpack_clip
from keras_emo.data.samples import Sample
from keras_emo.data.shards import Shards
from keras_emo.data.stored import StoredRows, StoredVariants
from keras_emo.errors import ClipError, Reason

SAMPLE = 8192  # clips that a mean is learned from, 185 MB of MFCC


class Rows(Protocol):
    """An array in memory or on disk, of which rows are taken by an index."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...


@dataclass
class Clips:
    """Clips of one part of the split, side by side.

    faces: uint8 (n_crops, size, size, 3), clip after clip; the crops of clip i are
    first[i] .. first[i] + count[i]. mfcc: float32 (n_clips, n_mfcc, n_frames), zeros where absent.
    variants: float32 (n_clips, n_variants, ...) altered sound, or None. labels: int32.
    Of shards these three are read where they are indexed; variants by a pair, clips and versions.
    """

    samples: list[Sample]
    faces: Rows
    first: np.ndarray
    count: np.ndarray
    mfcc: Rows
    has_voice: np.ndarray
    labels: np.ndarray
    variants: Rows | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def has_face(self) -> np.ndarray:
        return self.count > 0

    def sample_voices(self, n: int = SAMPLE) -> np.ndarray:
        """MFCC of all clips that have them, of n spread evenly over them where there are more."""
        heard = np.flatnonzero(self.has_voice)
        return self.mfcc[heard[:: -(-len(heard) // n)] if len(heard) > n else heard]

    @property
    def crop_labels(self) -> np.ndarray:
        return np.repeat(self.labels, self.count)


def load_clips(
    samples: Sequence[Sample],
    files: dict[str, Path],
    mfcc_shape: tuple[int, int],
    face_shape: tuple[int, int, int],
) -> Clips:
    """Read the prepared files of takes; takes without a file (they failed) are left out."""
    samples = [t for t in samples if t.sample_id in files]
    stack = stack_clips([files[t.sample_id] for t in samples], mfcc_shape, face_shape)
    count = stack["count"].astype(np.int64)
    return Clips(
        samples=samples,
        faces=stack["face"],
        first=np.cumsum(count) - count,
        count=count,
        mfcc=stack["mfcc"],
        has_voice=stack["has_voice"],
        labels=_label(samples),
    )


def open_clips(samples: Sequence[Sample], files: dict[str, Path], shards: Shards) -> Clips:
    """The same from shards that hold the files' content, read where it is indexed."""
    samples, place = find_clips(samples, files, shards)
    count = shards.count[place].astype(np.int64)
    shard, row = shards.shard[place], shards.row[place]
    return Clips(
        samples=samples,
        faces=StoredRows(shards, "face", shard, shards.first[place], count),
        first=np.cumsum(count) - count,
        count=count,
        mfcc=StoredRows(shards, "mfcc", shard, row, np.ones(len(place), np.int64)),
        has_voice=shards.has_voice[place],
        labels=_label(samples),
    )


def find_clips(
    samples: Sequence[Sample], files: dict[str, Path], shards: Shards
) -> tuple[list[Sample], np.ndarray]:
    """Takes that have a file, and their numbers in shards. Raises ClipError for one not there."""
    samples = [t for t in samples if t.sample_id in files]
    place = shards.find([files[t.sample_id].stem for t in samples])
    if (place < 0).any():
        missing = samples[int(np.argmin(place))]
        cause = f"{missing.sample_id} is in none of its shards; run again"
        raise ClipError(shards.folder, Reason.NOT_FOUND, cause)
    return samples, place


def stack_clips(
    paths: Sequence[Path], mfcc_shape: tuple[int, int], face_shape: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Prepared files side by side: per clip count, has_voice, mfcc; per crop the others.

    count: crops, int32. info: what else a file says, its text as uint8 bytes, info_count each.
    """
    counts = np.array([count_crops(p) for p in paths], np.int32)
    n, n_crops = len(paths), int(counts.sum())
    # filled in place: a list and its concatenation would need the memory twice
    stack = {
        "count": counts,
        "has_voice": np.zeros(n, bool),
        "face": np.empty((n_crops, *face_shape), np.uint8),
        "face_found": np.empty(n_crops, bool),
        "times_s": np.empty(n_crops, np.float32),
        "boxes": np.empty((n_crops, 4), np.float32),
        "mfcc": np.zeros((n, *mfcc_shape), np.float32),
    }
    infos, end = [], 0
    for i, path in enumerate(paths):
        first, end = end, end + int(counts[i])
        with naming_damage(path):
            data = read_arrays(path)
            unpack_clip(data)  # refuses what it cannot make a clip of
            for name in ("face_found", "times_s", "boxes", *(("face",) if end > first else ())):
                stack[name][first:end] = data[name]
            if "mfcc" in data:
                stack["mfcc"][i], stack["has_voice"][i] = data["mfcc"], True
            infos.append(str(data["info"]).encode())
    stack["info_count"] = np.array([len(t) for t in infos], np.int32)
    stack["info"] = np.frombuffer(b"".join(infos), np.uint8)
    return stack


def load_variants(clips: Clips, files: dict[str, Path], n_variants: int) -> np.ndarray | None:
    """Altered MFCC float32 (n_clips, n_variants, ...); a clip without a file repeats its own."""
    if not n_variants:
        return None
    variants = np.repeat(clips.mfcc[:, None], n_variants, axis=1)
    for i, sample in enumerate(clips.samples):
        if sample.sample_id in files:
            variants[i] = load_mfcc(files[sample.sample_id])
    return variants


def open_variants(
    clips: Clips, files: dict[str, Path], n_variants: int, shards: Shards
) -> StoredVariants:
    """The same from shards of altered voices; n_variants at least 1."""
    _, place = find_clips(clips.samples, files, shards)
    count = shards.count[place].astype(np.int64)
    if (count != n_variants).any():
        cause = f"not {n_variants} altered versions of every voice"
        raise ClipError(shards.folder, Reason.UNREADABLE, cause)
    rows = StoredRows(shards, "mfcc", shards.shard[place], shards.first[place], count)
    at = np.cumsum([t.sample_id in files for t in clips.samples]) - 1
    at[[t.sample_id not in files for t in clips.samples]] = -1
    return StoredVariants(rows, at, n_variants, clips.mfcc)


def _label(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([t.label for t in samples], np.int32)
