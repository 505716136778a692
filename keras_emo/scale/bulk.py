"""Predictions for many clips as Parquet files in a folder, which a restart completes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from keras_emo import __version__
from keras_emo.data.cache import digest_source
from keras_emo.errors import (
    BundleError,
    ClipError,
    EnvironmentFailure,
    Reason,
    UsageError,
    translate_errors,
)
from keras_emo.inference.bundle import DESCRIPTION
from keras_emo.inference.model import Model
from keras_emo.inference.predict import TimelineBuilder, check_predicted
from keras_emo.inference.results import Prediction, Timeline, flatten
from keras_emo.io import digest_file, make_folder, open_draft, read_record, sweep_drafts, write_json
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.progress import Progress
from keras_emo.scale.cluster import DIED

JOB = "_job.json"  # readers of a folder of Parquet files skip names that begin so
CLIPS_PER_FILE, RECORDINGS_PER_FILE = 256, 16  # recordings have many rows each
Row = dict[str, Any]  # cells by column; a missing column is null


def _column(name: str, kind: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning, **({"unit": unit} if unit else {})})


SCHEMA = pa.schema(
    [
        _column("path", pa.string(), "the clip, absolute; bytes that are not UTF-8 as \\xNN"),
        _column("clip_digest", pa.string(), "24 hex digits of its content, as in the cache"),
        _column("size_bytes", pa.int64(), "size of the file, null where there is none", "byte"),
        _column("window", pa.int32(), "number within the clip from 0; null for a failed clip"),
        _column("start_s", pa.float64(), "start of the window", "s"),
        _column("end_s", pa.float64(), "end of the window, or of the whole clip", "s"),
        _column("label", pa.string(), "the most probable emotion; null: no prediction"),
        *(_column(e, pa.float32(), f"probability of {e}", "1") for e in EMOTIONS),
        _column("modalities", pa.list_(pa.string()), "those used: face, voice"),
        _column("states", pa.list_(pa.string()), "why a modality is missing"),
        _column("warnings", pa.list_(pa.string()), "about the whole clip"),
        _column("frames_with_face", pa.int32(), "of a whole clip", "frame"),
        _column("frames_examined", pa.int32(), "of a whole clip", "frame"),
        _column("face_id", pa.int32(), "of a window: the person, the same number while tracked"),
        _column("x_px", pa.float32(), "of a window: left edge of the face in its middle", "px"),
        _column("y_px", pa.float32(), "top edge of the face", "px"),
        _column("width_px", pa.float32(), "width of the face", "px"),
        _column("height_px", pa.float32(), "height of the face", "px"),
        _column("duration_s", pa.float64(), "of the clip, as far as it was read", "s"),
        _column("damaged_packets", pa.int64(), "of the clip", "packet"),
        _column("missing_s", pa.float64(), "of the clip", "s"),
        _column("reason", pa.string(), "of a failed clip: the code; null otherwise"),
        _column("cause", pa.string(), "of a failed clip: in words"),
        _column("bundle", pa.string(), "sha256 of bundle.json"),
        _column("version", pa.string(), "of keras_emo"),
    ]
)
_OUTCOME_COLUMNS = ["path", "size_bytes", "states", "damaged_packets", "missing_s", "reason"]
_FACE_COLUMNS = ("face_id", "x_px", "y_px", "width_px", "height_px")


@dataclass(frozen=True)
class Job:
    """What predictions depend on; a folder holds the predictions of one job.

    bundle: sha256 of bundle.json. window_s, hop_s: None for whole clips. timeout_s, memory_mb:
    limits of the sandbox.
    """

    bundle: str
    window_s: float | None = None
    hop_s: float | None = None
    sandbox: bool = False
    timeout_s: float | None = None
    memory_mb: int | None = None
    version: str = __version__


class Outcome(StrEnum):
    """What became of a clip."""

    PREDICTED = "predicted"
    DEGRADED = "degraded"
    FAILED = "failed"
    TIMED_OUT = "timed out"


class ClipPredictor:
    """Callable: the absolute path of a clip to its rows, one or more.

    It can be pickled; the model is loaded on first use. Raises BundleError and EnvironmentFailure
    where bundle or version differ from the job's.
    """

    def __init__(self, load: Callable[[], Model], job: Job):
        self.load, self.job = load, job

    @cached_property
    def model(self) -> Model:
        """The job's model."""
        if self.job.version != __version__:
            cause = f"a worker has version {__version__}, the job needs {self.job.version}"
            raise EnvironmentFailure("keras_emo", Reason.BAD_CONFIG, cause)
        model = self.load()
        path = model.bundle.folder / DESCRIPTION
        if digest_file(path) != self.job.bundle:
            raise BundleError(path, Reason.BAD_BUNDLE, "not the bundle that the job started with")
        return model

    def __call__(self, path: Path) -> list[Row]:
        rows: list[Row] = []
        try:
            if self.job.window_s is None:
                rows += make_rows(self.model.predict(path))
            else:
                stream = self.model.stream(path, self.job.window_s, self.job.hop_s)
                builder = TimelineBuilder(stream, self.model.bundle)
                try:
                    for window in stream:
                        builder.add(window)
                finally:  # windows before a failure are rows as well
                    timeline = builder.build()
                    rows += make_rows(timeline)
                check_predicted(timeline)
        except ClipError as e:
            rows.append({"reason": str(e.reason), "cause": _to_utf8(e.cause)})
        return self._complete(path, rows)

    def predict_all(self, paths: Iterable[Path]) -> Generator[tuple[Path, list[Row]], None, None]:
        """Yield (path, rows) in this process; the model, if it was loaded, is closed at the end."""
        try:
            for path in paths:
                yield path, self(path)
        finally:
            if "model" in self.__dict__:
                self.model.close()

    def report_death(self, path: Path) -> list[Row]:
        """The rows of a clip that killed its worker."""
        return self._complete(path, [{"reason": str(Reason.WORKER_DIED), "cause": DIED}])

    def _complete(self, path: Path, rows: list[Row]) -> list[Row]:
        common: Row = {"path": _to_utf8(path), "size_bytes": _read_size(path)}
        with suppress(ClipError, OSError):  # null; what is wrong with the file is the reason
            common["clip_digest"] = digest_source(ClipSource(video=path))
        common |= {"bundle": self.job.bundle, "version": self.job.version}
        return [{**row, **common} for row in rows]


def make_rows(result: Prediction | Timeline) -> list[Row]:
    """One row for a whole clip, or one per window."""
    of_clip: Row = {
        "warnings": list(result.warnings),
        "duration_s": result.duration_s,
        "damaged_packets": result.damage.packets,
        "missing_s": result.damage.missing_s,
    }
    if isinstance(result, Prediction):
        of_clip |= {"window": 0, "start_s": 0.0, "end_s": result.duration_s}
        counts = {
            "frames_with_face": result.faces.with_face,
            "frames_examined": result.faces.examined,
        }
        return [{**flatten(result), **of_clip, **counts}]
    rows = []
    for number, window in enumerate(result.windows):
        face = () if window.face is None else (window.face.id, *window.face.box)
        of_window = {"window": number, **dict(zip(_FACE_COLUMNS, face, strict=False))}
        rows.append({**flatten(window), **of_clip, **of_window})
    return rows


def find_outcome(rows: Iterable[Row]) -> Outcome:
    """What became of a clip, from its rows."""
    outcome = Outcome.PREDICTED
    for row in rows:
        if reason := row.get("reason"):
            return Outcome.TIMED_OUT if reason == Reason.TIMEOUT else Outcome.FAILED
        if row["states"] or row["damaged_packets"] or row["missing_s"]:
            outcome = Outcome.DEGRADED
    return outcome


def predict_into(
    folder: Path,
    job: Job,
    clips: Iterable[Path],
    run: Callable[[list[Path]], Generator[tuple[Path, list[Row]], None, None]],
    clips_per_file: int | None = None,
) -> Counter[Outcome]:
    """Predict the clips that a job's folder lacks; counts of all clips.

    run: yields (path, rows) of absolute paths, in any order. A clip that fails is one line on
    stderr. Whatever stops the work, rows that are complete are written. Raises UsageError for a
    folder of other files, of another job, or in use, and for a clip that has changed,
    EnvironmentFailure where the folder cannot be made.
    """
    if clips_per_file is None:
        clips_per_file = CLIPS_PER_FILE if job.window_s is None else RECORDINGS_PER_FILE
    paths = sorted({Path(os.path.abspath(path)) for path in clips})
    with _lock_folder(folder):
        sweep_drafts(folder)
        _check_job(folder, job)
        outcomes = _read_outcomes(folder, paths)
        if outcomes:
            print(f"{len(outcomes)} of {len(paths)} clips were predicted before", file=sys.stderr)
        rest = [path for path in paths if path not in outcomes]
        pending: list[list[Row]] = []
        try:
            with (
                Progress("predicted", "clips", lines=True) as progress,
                closing(run(rest)) as results,
            ):
                progress(len(outcomes), len(paths))
                for path, rows in results:
                    pending.append(rows)
                    outcomes[path] = find_outcome(rows)
                    if (reason := rows[-1].get("reason")) is not None:
                        progress.clear()
                        error = ClipError(path, Reason(reason), rows[-1]["cause"])
                        print(f"error: {error}", file=sys.stderr)
                    if len(pending) == clips_per_file:
                        complete, pending = pending, []  # first: a signal must not write it twice
                        _write_file(folder, complete)
                    progress(len(outcomes), len(paths))
        finally:
            _write_file(folder, pending)
            if 0 < len(outcomes) < len(paths):
                line = f"{len(outcomes)} of {len(paths)} clips are predicted"
                print(f"{line}; run the same command again for the rest", file=sys.stderr)
    return Counter(outcomes.values())


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made, for this process. Raises UsageError where it is in use."""
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        cause = "another process writes predictions into it"
        raise UsageError(folder, Reason.BAD_CONFIG, cause) from None
    except OSError:  # a file system without locks: two at once do the work twice
        pass
    try:
        yield
    finally:
        os.close(handle)


def _check_job(folder: Path, job: Job) -> None:
    """Write the job into a new folder. Raises UsageError for a folder of anything else."""
    path, values = folder / JOB, asdict(job)
    if not path.exists():
        if any(folder.iterdir()):
            cause = "it has other files; use a new folder, or one with predictions of the same job"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        write_json(path, values)
    found = read_record(path)
    if differing := [k for k in {**found, **values} if found.get(k) != values.get(k)]:
        cause = f"it holds predictions with another {', '.join(differing)}; use another folder"
        raise UsageError(folder, Reason.BAD_CONFIG, cause)


def _read_outcomes(folder: Path, paths: Iterable[Path]) -> dict[Path, Outcome]:
    """The outcomes of those paths that have rows.

    Raises UsageError for a damaged file, and for a clip whose size has changed.
    """
    by_name = {_to_utf8(path): path for path in paths}
    outcomes: dict[Path, Outcome] = {}
    for file in _list_files(folder):
        errors, cause = (OSError, ValueError), "damaged; delete it and run again ({})"
        with translate_errors(UsageError, file, Reason.UNREADABLE, *errors, cause=cause):
            table = pq.read_table(file, columns=_OUTCOME_COLUMNS).to_pylist()
        for name, group in groupby(table, itemgetter("path")):
            if name not in by_name:
                continue
            path, rows = by_name[name], list(group)
            if rows[0]["size_bytes"] != _read_size(path):
                cause = f"changed after its prediction in {str(folder)!r}; use another folder"
                raise UsageError(path, Reason.BAD_CONFIG, cause)
            outcomes[path] = find_outcome(rows)
    return outcomes


def _write_file(folder: Path, clips: list[list[Row]]) -> None:
    """Add a file with all rows of some clips, in one step."""
    if not clips:
        return
    files = _list_files(folder)
    number = int(files[-1].stem.rpartition("-")[2]) + 1 if files else 0
    with open_draft(folder / f"predictions-{number:06d}.parquet") as f:
        table = pa.Table.from_pylist([row for rows in clips for row in rows], SCHEMA)
        pq.write_table(table, f, compression="zstd")


def _list_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("predictions-*.parquet"))


def _read_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _to_utf8(text: str | Path) -> str:
    return str(text).encode(errors="backslashreplace").decode()
