"""Prepared clips of one split as arrays whose rows are read from the cache when they are used.

The cache's files are .npz archives that are not compressed, so that a row of an array lies at a
known place of its file and costs one small read. Memory does not grow with the length of the clips:
of each, only its place and its label are held. Rows are read, not mapped: a file cut short is an
error instead of SIGBUS, and no file stays open.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_emo.data.cache import Progress, load_clip, load_mfcc, naming_damage
from keras_emo.data.corpus import Sample
from keras_emo.errors import ClipError
from keras_emo.features.clip import ClipInputs
from keras_emo.spec import ClipSpec

NORM_CLIPS = 8192  # clips that a mean is learned from, 185 MB of MFCC
ABSENT = -1  # in place of an offset


@dataclass(frozen=True)
class StoredClip:
    """A prepared clip in the cache: where its arrays lie in its file.

    face_at, mfcc_at: offsets of their first byte; ABSENT for a modality that the clip lacks.
    """

    path: Path
    n_crops: int
    face_at: int
    mfcc_at: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """As of ClipInputs, without reading the file."""
        places = {"face": self.face_at, "voice": self.mfcc_at}
        return tuple(name for name, place in places.items() if place != ABSENT)

    def load(self) -> ClipInputs:
        """The clip itself. Raises ClipError where its file is damaged."""
        return load_clip(self.path)


class StoredRows:
    """An array (n, ...) whose rows lie in many files, read where it is indexed.

    The index is a slice or an array of row numbers, none of them negative; the result is a NumPy
    array. Rows of a file without the array are zeros.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        offsets: Sequence[int],
        counts: Sequence[int],
        shape: tuple[int, ...],
        dtype: type,
    ):
        """offsets: of the first row in each file, or ABSENT. counts: rows in each file."""
        self.paths = list(paths)
        self.offsets = np.array(offsets, np.int64)
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.shape, self.dtype = (int(self.first[-1]), *shape), np.dtype(dtype)
        self.failure: ClipError | None = None  # of the last read: tf.data hides what it was

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        rows = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        rows = np.asarray(rows, np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"a row outside of {len(self)}")
        out = np.zeros((*rows.shape, *self.shape[1:]), self.dtype)
        files = np.searchsorted(self.first, rows.reshape(-1), side="right") - 1
        places = zip(files.tolist(), (rows.reshape(-1) - self.first[files]).tolist(), strict=True)
        for row, (file, number) in zip(out.reshape(-1, *self.shape[1:]), places, strict=True):
            if self.offsets[file] != ABSENT:
                self._read(row, file, number)
        return out

    def _read(self, row: np.ndarray, file: int, number: int) -> None:
        path = self.paths[file]
        try:
            with naming_damage(path), open(path, "rb", buffering=0) as f:
                f.seek(int(self.offsets[file]) + number * row.nbytes)
                if f.readinto(row.data) != row.nbytes:
                    raise ValueError("it is cut short")
        except ClipError as e:
            self.failure = e
            raise


@dataclass
class Clips:
    """Clips of one split, side by side.

    faces: uint8 (n_crops, size, size, 3), clip after clip; the crops of clip i are
    first[i] .. first[i] + count[i]. mfcc: float32 (n_clips, n_mfcc, n_frames), zeros where absent.
    variants: float32 (n_clips * n_variants, ...) augmented versions of the sound, clip after clip,
    or None. labels: int32.
    """

    samples: list[Sample]
    faces: StoredRows
    mfcc: StoredRows
    labels: np.ndarray
    variants: StoredRows | None = None
    n_variants: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def first(self) -> np.ndarray:
        return self.faces.first[:-1]

    @cached_property
    def count(self) -> np.ndarray:
        return np.diff(self.faces.first)

    @property
    def has_face(self) -> np.ndarray:
        return self.count > 0

    @property
    def has_voice(self) -> np.ndarray:
        return np.asarray(self.mfcc.offsets != ABSENT)

    @property
    def crop_labels(self) -> np.ndarray:
        return np.repeat(self.labels, self.count)

    @property
    def failure(self) -> ClipError | None:
        """The last read that failed."""
        arrays = (self.faces, self.mfcc, self.variants)
        return next((a.failure for a in arrays if a is not None and a.failure), None)

    def read_voices(self, index: np.ndarray, version: np.ndarray) -> np.ndarray:
        """MFCC of clips, each in one of its n_variants augmented versions; n_variants: its own."""
        if self.variants is None:
            return self.mfcc[index]
        out = np.empty((len(index), *self.mfcc.shape[1:]), np.float32)
        own = (version == self.n_variants) | (self.variants.offsets[index] == ABSENT)
        out[own] = self.mfcc[index[own]]
        out[~own] = self.variants[index[~own] * self.n_variants + version[~own]]
        return out

    def sample_voices(self, n: int = NORM_CLIPS) -> np.ndarray:
        """MFCC of all clips that have them, of n spread evenly over them where there are more."""
        usable = np.flatnonzero(self.has_voice)
        return self.mfcc[usable[:: -(-len(usable) // n)] if len(usable) > n else usable]


def open_clip(path: Path, spec: ClipSpec) -> StoredClip:
    """Check a prepared file and find its arrays. Raises ClipError where it is damaged.

    All of it is read once and its checksums are compared.
    """
    clip = load_clip(path)
    with naming_damage(path):
        for name, array, shape in (
            ("face", clip.face, (len(clip.times_s), *spec.face.shape)),
            ("mfcc", clip.mfcc, spec.audio.shape),
        ):
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} is {array.shape}, not {shape}")
        offsets = locate_arrays(path)
    n_crops = 0 if clip.face is None else len(clip.face)
    return StoredClip(path, n_crops, offsets.get("face", ABSENT), offsets.get("mfcc", ABSENT))


def open_clips(
    samples: Sequence[Sample],
    files: dict[str, Path],
    spec: ClipSpec,
    progress: Progress = lambda *_: None,
) -> Clips:
    """Check the prepared files of samples; samples without a file (they failed) are left out."""
    samples = [s for s in samples if s.sample_id in files]
    stored: list[StoredClip] = []
    for sample in samples:
        stored.append(open_clip(files[sample.sample_id], spec))
        progress(len(stored), len(samples))
    paths, count = [c.path for c in stored], [c.n_crops for c in stored]
    faces = StoredRows(paths, [c.face_at for c in stored], count, spec.face.shape, np.uint8)
    one_each, mfcc_at = [1] * len(stored), [c.mfcc_at for c in stored]
    mfcc = StoredRows(paths, mfcc_at, one_each, spec.audio.shape, np.float32)
    return Clips(samples, faces, mfcc, np.array([s.label for s in samples], np.int32))


def open_variants(clips: Clips, files: dict[str, Path], n_variants: int) -> None:
    """Give clips the augmented versions of their sound; one without a file repeats its own."""
    shape = (n_variants, *clips.mfcc.shape[1:])
    offsets = dict.fromkeys((s.sample_id for s in clips.samples), ABSENT)
    for sample_id in offsets.keys() & files.keys():
        mfcc, path = load_mfcc(files[sample_id]), files[sample_id]
        with naming_damage(path):
            if mfcc.shape != shape:
                raise ValueError(f"mfcc is {mfcc.shape}, not {shape}")
            offsets[sample_id] = locate_arrays(path)["mfcc"]
    paths, counts = [files.get(i, Path()) for i in offsets], [n_variants] * len(offsets)
    clips.variants = StoredRows(paths, list(offsets.values()), counts, shape[1:], np.float32)
    clips.n_variants = n_variants


def locate_arrays(path: Path) -> dict[str, int]:
    """Where the content of each array of an uncompressed .npz begins. Raises ValueError."""
    found = {}
    with open(path, "rb") as f, zipfile.ZipFile(f) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            f.seek(member.header_offset + 26)
            name_bytes, extra_bytes = struct.unpack("<HH", f.read(4))
            f.seek(name_bytes + extra_bytes, 1)
            np.lib.format.read_magic(f)
            np.lib.format.read_array_header_1_0(f)
            found[member.filename.removesuffix(".npy")] = f.tell()
    return found
