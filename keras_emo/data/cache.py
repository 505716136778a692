"""Prepared clips on disk: parallel, atomic, resumable, keyed by what decides their content."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.data.augment import WaveSpec, augment_clip
from keras_emo.data.corpus import Sample
from keras_emo.data.digests import Digests, digest_source
from keras_emo.data.workers import Job, run_jobs
from keras_emo.errors import ClipError, Reason, translate_errors
from keras_emo.features.clip import ClipInputs, prepare_clip
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.io import (
    CONTENT_ERRORS,
    digest_text,
    make_folder,
    open_draft,
    read_arrays,
    sweep_drafts,
    write_text,
)
from keras_emo.spec import ClipSpec, FaceSpec

Progress = Callable[[int, int], None]
# As run_jobs: a function, jobs and the number of workers, to each job and its result.
Run = Callable[[Callable[..., Any], Sequence[Job], int], Generator[tuple[Job, Any], None, None]]
Make = Callable[[Sample], dict[str, Any]]
FORMAT = 4  # of the files below and of how they are made; another number, another folder


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
    key = {"audio": spec.to_dict()["audio"], "waves": waves.to_dict(), "format": FORMAT}
    folder = _open_folder(root, "voices", key)
    return _fill(samples, folder, partial(_augment, spec=spec, waves=waves), workers, progress)


def load_clip(path: Path) -> ClipInputs:
    """What build_cache stored of one clip. Raises ClipError where it is damaged."""
    with naming_damage(path):
        data = read_arrays(path)
        info = json.loads(str(data["info"]))
        return ClipInputs(
            face=data.get("face"),
            face_found=data["face_found"],
            times_s=data["times_s"],
            boxes=data["boxes"],
            mfcc=_check_finite(data["mfcc"]) if "mfcc" in data else None,
            duration_s=info["duration_s"],
            frames_examined=info["frames_examined"],
            states=tuple(Reason(s) for s in info["states"]),
            warnings=tuple(info["warnings"]),
        )


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
