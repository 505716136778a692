"""Clips and arrays of shards that look like those in memory, read where they are looked at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from keras_emo.data.cache import unpack_clip
from keras_emo.data.shard_files import PACK_AGAIN
from keras_emo.data.shards import Shards
from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import ClipInputs

KEPT_CLIPS = 16  # whole clips that stay read: a validation batch looks at each several times


class StoredRows:
    """An array (n, ...) on disk: rows of one array of the shards, for chosen clips in turn.

    Indexing by a number, a slice, or an array of numbers or bools returns a numpy array. Holds
    16 bytes a clip, whatever the rows.
    """

    def __init__(self, shards: Shards, array: str, shard: np.ndarray, first: np.ndarray,
                 count: np.ndarray):  # fmt: skip
        layout = shards.layouts.get(array)
        self._shards, self._array, self._shard, self._first = shards, array, shard, first
        self._starts = np.concatenate([[0], np.cumsum(count, dtype=np.int64)])
        self.dtype = np.dtype(np.uint8) if layout is None else layout.dtype
        self.shape = (int(self._starts[-1]), *(() if layout is None else layout.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = number_rows(index, len(self))
        flat = rows.reshape(-1)
        owner = np.searchsorted(self._starts, flat, side="right") - 1
        row = self._first[owner] + (flat - self._starts[owner])
        read = self._shards.read(self._array, self._shard[owner], row)
        return read.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


class StoredVariants:
    """Altered sound (n_clips, n_variants, ...) of clips in turn; own sound where there is none.

    Indexing: by a pair of arrays, clips and variants.
    """

    def __init__(self, rows: StoredRows, place: np.ndarray, n_variants: int, own: Any):
        """rows: of the clips that have altered versions. place: which of them, -1 for none."""
        self._rows, self._place, self._own = rows, place, own
        self.shape = (len(place), n_variants, *own.shape[1:])
        self.dtype = own.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, pair: tuple[Any, Any]) -> np.ndarray:
        index, choice = np.broadcast_arrays(*pair)
        place, here = self._place[index], self._place[index] >= 0
        out = np.empty((len(index), *self.shape[2:]), self.dtype)
        out[here] = self._rows[place[here] * self.shape[1] + choice[here]]
        out[~here] = self._own[index[~here]]
        return out


class StoredClip(ClipInputs):
    """A clip of the shards that is read when one of its fields is asked for."""

    def __init__(self, reader: ClipReader, number: int):
        self._reader, self._number = reader, number

    def __getattr__(self, name: str) -> Any:  # no field is set, so all of them come by here
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._reader(self._number), name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """As of a clip in memory, without reading it."""
        shards, i = self._reader.shards, self._number
        present = {"face": shards.count[i] > 0, "voice": shards.has_voice[i]}
        return tuple(name for name, here in present.items() if here)


class ClipReader:
    """Whole clips of shards by their numbers; the last few stay in memory."""

    def __init__(self, shards: Shards):
        self.shards = shards
        self._load = lru_cache(KEPT_CLIPS)(self._read)

    def __call__(self, number: int) -> ClipInputs:
        """The very clip that load_clip gave. Raises ClipError where its shard is damaged."""
        return self._load(number)

    def _read(self, number: int) -> ClipInputs:
        shards, i = self.shards, int(number)
        shard, n_crops = int(shards.shard[i]), int(shards.count[i])

        def rows(array: str, first: Any, n: int) -> np.ndarray:
            return shards.read(array, np.full(n, shard), np.arange(first, first + n))

        data: dict[str, Any] = {
            name: rows(name, int(shards.first[i]), n_crops)
            for name in ("face_found", "times_s", "boxes", *(("face",) if n_crops else ()))
        }
        if shards.has_voice[i]:
            data["mfcc"] = rows("mfcc", int(shards.row[i]), 1)[0]
        info = rows("info", int(shards.info_first[i]), int(shards.info_count[i]))
        try:
            return unpack_clip({**data, "info": info.tobytes().decode()})
        except (ValueError, KeyError, TypeError) as e:
            cause = f"damaged since it was written ({e}); {PACK_AGAIN}"
            raise ClipError(shards.files[shard], Reason.UNREADABLE, cause) from e


def number_rows(index: Any, n: int) -> np.ndarray:
    """What numpy means by an index into n rows, as int64 numbers. Raises IndexError."""
    if isinstance(index, slice):
        return np.arange(*index.indices(n))
    rows = np.asarray(index)
    if rows.dtype == bool:
        if rows.shape != (n,):
            raise IndexError(f"{rows.shape} bools for {n} rows")
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64) if rows.size == 0 else rows
    if rows.dtype.kind not in "iu":
        raise IndexError(f"an index of {rows.dtype}")
    if rows.size and (int(rows.min()) < -n or int(rows.max()) >= n):
        raise IndexError(f"an index outside of {n} rows")
    return np.where(rows < 0, rows + n, rows).astype(np.int64, copy=False)
