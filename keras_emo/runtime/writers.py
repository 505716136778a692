"""Answers for people and for files, as they come, and files that appear whole."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from keras_emo.core.errors import EnvironmentFailure, Reason
from keras_emo.core.labels import EMOTIONS
from keras_emo.runtime.predictor import Prediction

FORMATS = ("csv", "json", "text")
CSV_HEADER = (
    "path", "label", *EMOTIONS, "modalities", "frames_with_face", "frames_examined",
    "duration_s", "warnings",
)  # fmt: skip


def format_text(p: Prediction) -> str:
    """One line: path, label, its probability, modalities used."""
    return (
        f"{p.path}  {p.label} {p.probs.max():.2f}  from {' and '.join(p.modalities)}"
        f"  face in {p.frames_with_face} of {p.frames_examined} frames\n"
    )


def format_csv(cells: object) -> str:
    """One line of cells, quoted where they need it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return text.getvalue()


class AnswerWriter:
    """Writes answers to a stream: text and csv one by one, json as one array at the end."""

    def __init__(self, stream: TextIO, form: str):
        self.stream, self.form = stream, form
        self.kept: list[dict] = []
        if form == "csv":
            self.stream.write(format_csv(CSV_HEADER))

    def add(self, p: Prediction) -> None:
        """Take the next answer."""
        if self.form == "json":
            self.kept.append(p.to_dict())
            return
        if self.form == "text":
            self.stream.write(format_text(p))
        else:
            self.stream.write(format_csv([
                p.path, p.label, *(f"{v:.6f}" for v in p.probs), "+".join(p.modalities),
                p.frames_with_face, p.frames_examined, f"{p.duration_s:.3f}",
                "; ".join([*map(str, p.states), *p.warnings]),
            ]))  # fmt: skip
        self.stream.flush()  # whoever reads along need not wait for the last clip

    def finish(self) -> None:
        """No further answer comes."""
        if self.form == "json":
            self.stream.write(json.dumps(self.kept, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that replaces ``path`` once all is written.

    Entering proves that the folder takes a file. When the work fails before anything is
    written, or the disk refuses, the old file stays; what was written before another failure,
    an interrupt among them, is delivered. Raises EnvironmentFailure.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))  # a link stays a link
        if target.is_dir():
            raise IsADirectoryError(0, "a folder of this name exists", str(path))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with open(target, "w", encoding="utf-8", errors="backslashreplace") as f:
                yield f  # a device or a pipe cannot be replaced
            return
        with _replacing(target) as f:
            yield f
    except BrokenPipeError:  # stderr's reader, not this file
        raise
    except OSError as e:
        name = path if e.filename is None or ".part-" in str(e.filename) else e.filename
        raise EnvironmentFailure(name, Reason.WRITE_FAILED, e.strerror or str(e)) from e


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    handle, name = tempfile.mkstemp(prefix=".part-", dir=target.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as f:
            try:
                yield f
            except OSError:
                raise
            except BaseException:
                if f.tell():
                    _put_in_place(f, name, target)
                raise
            _put_in_place(f, name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _put_in_place(f: TextIO, name: str, target: Path) -> None:
    f.flush()
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(f.fileno(), 0o666 & ~umask)  # mkstemp lets nobody else read
    os.fsync(f.fileno())
    os.replace(name, target)
