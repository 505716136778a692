"""Prepared clips on disk: parallel, atomic, resumable, keyed by what decides their content."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.data.augment import WaveSpec, augment_clip
from keras_emo.data.corpus import Sample
from keras_emo.data.workers import Job, run_jobs
from keras_emo.errors import ClipError, Reason, translate_errors
from keras_emo.features.clip import ClipInputs, prepare_clip
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.io import (
    CONTENT_ERRORS,
    digest_file,
    digest_text,
    make_folder,
    open_draft,
    read_arrays,
    sweep_drafts,
    write_text,
)
from keras_emo.media.reader import ClipSource, check_file
from keras_emo.spec import ClipSpec, FaceSpec

Progress = Callable[[int, int], None]
# As run_jobs: a function, jobs and the number of workers, to each job and its result.
Run = Callable[[Callable[..., Any], Sequence[Job], int], Generator[tuple[Job, Any], None, None]]
Make = Callable[[Sample], dict[str, Any]]
FORMAT = 4  # of the files below and of how they are made; another number, another folder
DIGESTS, DIGESTS_FORMAT = "digests.json", 1
SETTLED_S = 2.0  # a file younger than that may change again without a new time of change


@dataclass
class CacheReport:
    """Where each sample's prepared file lies, and which samples failed and why."""

    files: dict[str, Path] = field(default_factory=dict)
    failures: list[ClipError] = field(default_factory=list)
    computed: int = 0


def build_cache(
    samples: Sequence[Sample],
    spec: ClipSpec,
    root: Path,
    workers: int = 0,
    progress: Progress = lambda *_: None,
    run: Run = run_jobs,
) -> CacheReport:
    """Prepare every sample that is not in the cache yet.

    Files lie in root/<digest of spec, detector and format>/<digest of the clip>.npz, so another
    setting never meets an old file. workers: processes (0: one per core). A clip that fails is
    reported and the rest is prepared. run: executes the jobs, on this machine or on others that
    see the same files.
    """
    key = {"spec": spec.to_dict(), "detector": FaceDetector.weights_digest(), "format": FORMAT}
    folder = _open_folder(root, "clips", key)
    return _fill(samples, folder, partial(_prepare, spec=spec), workers, progress, run)


def build_variants(
    samples: Sequence[Sample],
    spec: ClipSpec,
    waves: WaveSpec,
    root: Path,
    workers: int = 0,
    progress: Progress = lambda *_: None,
) -> CacheReport:
    """MFCC of augmented versions of each sample's sound, for training speakers only.

    Each file holds ``mfcc`` float32 (n_variants, n_mfcc, n_frames).
    """
    key = {"audio": spec.to_dict()["audio"], "waves": asdict(waves), "format": FORMAT}
    folder = _open_folder(root, "voices", key)
    return _fill(samples, folder, partial(_augment, spec=spec, waves=waves), workers, progress)


def load_clip(path: Path) -> ClipInputs:
    """What build_cache stored of one clip. Raises ClipError where it is damaged."""
    with naming_damage(path):
        data = read_arrays(path)
        stored = json.loads(str(data.pop("info")))
        info = {name: stored[name] for name in _INFO}
        info["states"] = tuple(Reason(s) for s in info["states"])
        info["warnings"] = tuple(info["warnings"])
        if "mfcc" in data:
            _check_finite(data["mfcc"])
        return ClipInputs(**{"face": None, "mfcc": None, **data, **info})


def load_mfcc(path: Path) -> np.ndarray:
    """What build_variants stored of one clip: float32 (n_variants, n_mfcc, n_frames)."""
    with naming_damage(path):
        return _check_finite(read_arrays(path)["mfcc"])


def _check_finite(mfcc: np.ndarray) -> np.ndarray:
    if not np.isfinite(mfcc).all():
        raise ValueError("mfcc holds NaN or infinity")
    return mfcc


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Whatever is wrong with the content of a cache file becomes a ClipError."""
    damage = "damaged since it was written ({}); delete it and run again"
    with (
        translate_errors(ClipError, path, Reason.UNREADABLE),
        translate_errors(ClipError, path, Reason.UNREADABLE, *CONTENT_ERRORS, cause=damage),
    ):
        yield


def _open_folder(root: Path, kind: str, key: dict[str, Any]) -> Path:
    text = json.dumps(key, sort_keys=True, indent=1)
    folder = root / f"{kind}-{digest_text(text)[:16]}"
    make_folder(root)
    make_folder(folder)
    sweep_drafts(folder)
    if not (folder / "spec.json").exists():
        write_text(folder / "spec.json", text)
    return folder


def _fill(
    samples: Sequence[Sample],
    folder: Path,
    make: Make,
    workers: int,
    progress: Progress,
    run: Run = run_jobs,
) -> CacheReport:
    """Write the arrays that make returns of each sample, unless its file is there."""
    report, digests = CacheReport(), Digests(folder.parent)
    jobs: list[Job] = []
    try:
        for sample in samples:
            try:
                path = folder / f"{digest_source(sample.source, digests)}.npz"
            except ClipError as e:
                report.failures.append(e)
                continue
            if _is_whole(path):
                report.files[sample.sample_id] = path
            else:
                jobs.append((make, sample, path))
    finally:
        digests.save()
    done = len(samples) - len(jobs)
    progress(done, len(samples))
    try:
        with closing(run(_write, jobs, workers)) as results:
            for n, ((_, sample, path), error) in enumerate(results, done + 1):
                if error is not None:
                    report.failures.append(error)
                else:
                    report.files[sample.sample_id] = path
                    report.computed += 1
                progress(n, len(samples))
    finally:
        sweep_drafts(folder)  # of workers that were stopped
    return report


def _write(make: Make, sample: Sample, path: Path) -> ClipError | None:
    try:
        arrays = make(sample)
    except ClipError as e:
        return e
    with open_draft(path) as f:
        np.savez(f, **arrays)
    return None


_detectors: dict[FaceSpec, FaceDetector] = {}  # of this process: loading one takes long
_ARRAYS = ("face", "mfcc", "face_found", "times_s", "boxes")
_INFO = ("duration_s", "frames_examined", "states", "warnings")


def _prepare(sample: Sample, spec: ClipSpec) -> dict[str, np.ndarray]:
    if spec.face not in _detectors:
        _detectors[spec.face] = FaceDetector(spec=spec.face)
    inputs = prepare_clip(sample.source, spec, _detectors[spec.face])
    info = {"sample_id": sample.sample_id} | {name: getattr(inputs, name) for name in _INFO}
    arrays = {name: getattr(inputs, name) for name in _ARRAYS}
    present = {name: array for name, array in arrays.items() if array is not None}
    return present | {"info": np.array(json.dumps(info))}


def _augment(sample: Sample, spec: ClipSpec, waves: WaveSpec) -> dict[str, np.ndarray]:
    return {"mfcc": augment_clip(sample.source, spec, waves, sample.sample_id)}


def _is_whole(path: Path) -> bool:
    """A file that is there and has its index: a disk that filled up may leave less."""
    return path.exists() and zipfile.is_zipfile(path)


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
        write_text(self.path, json.dumps({"format": DIGESTS_FORMAT, "files": self._known}) + "\n")

    def _read(self) -> dict[str, Any]:
        """What is known; nothing where the file is damaged, since all of it can be read again."""
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["format"] == DIGESTS_FORMAT:
                return dict(data["files"])
        return {}


def _state(path: Path) -> list[int]:
    s = os.stat(path)
    return [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns]
