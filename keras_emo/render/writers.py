"""Answers for people and for files, as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from keras_emo.inference.predict import WindowStream
from keras_emo.inference.results import Prediction, Segment, WindowPrediction
from keras_emo.labels import EMOTIONS

FORMATS = ("csv", "json", "text")
CSV_HEADER = (
    "path", "label", *EMOTIONS, "modalities", "frames_with_face", "frames_examined",
    "duration_s", "warnings",
)  # fmt: skip
WINDOWS_SCHEMA = 1
WINDOW_HEADER = (
    "path", "start_s", "end_s", "label", *EMOTIONS, "modalities", "states", "face_id",
    "x_px", "y_px", "width_px", "height_px",
)  # fmt: skip


def format_text(p: Prediction) -> str:
    """One line: path, label, its probability, modalities used."""
    return (
        f"{p.path}  {p.label} {p.confidence:.2f}  from {' and '.join(p.modalities)}"
        f"  face in {p.faces.with_face} of {p.faces.examined} frames\n"
    )


def format_csv(cells: object) -> str:
    """One line of cells, quoted where they need it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # type: ignore[arg-type]
    return text.getvalue()[:-2] + "\n"  # not written so: a name with "\r" would go unquoted


class PredictionWriter:
    """Writes answers to a stream: text and csv one by one, json as one array at the end."""

    def __init__(self, stream: TextIO, form: str):
        self.stream, self.form = stream, form
        self.kept: list[dict[str, Any]] = []
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
                p.path, p.label, *(f"{v:.6f}" for v in p.probs.values()), "+".join(p.modalities),
                p.faces.with_face, p.faces.examined, f"{p.duration_s:.3f}",
                "; ".join([*map(str, p.states), *p.warnings]),
            ]))  # fmt: skip
        self.stream.flush()  # whoever reads along need not wait for the last clip

    def finish(self) -> None:
        """No further answer comes."""
        if self.form == "json":
            self.stream.write(json.dumps(self.kept, indent=1, ensure_ascii=False) + "\n")


class TimelineWriter:
    """Writes timelines of recordings to a stream, window by window.

    csv: a row a window. text: a line a segment, once a recording is done. json: an array with
    an object for each recording, see docs/commands.md.
    """

    def __init__(self, stream: TextIO, form: str):
        self.stream, self.form = stream, form
        self.n_files = self.n_windows = 0
        if form == "csv":
            stream.write(format_csv(WINDOW_HEADER))

    def begin(self, path: Path, window_s: float, hop_s: float) -> None:
        """The windows of another recording come."""
        self.path, self.n_windows = path, 0
        if self.form == "json":
            head = {"schema": WINDOWS_SCHEMA, "path": str(path)}
            head |= {"window_s": window_s, "hop_s": hop_s}
            opening = ",\n" if self.n_files else "[\n"
            self.stream.write(f'{opening}{_to_json(head)[:-1]}, "windows": [')
        self.n_files += 1

    def add(self, answer: WindowPrediction) -> None:
        """Take the next window."""
        if self.form == "json":
            separator = ",\n " if self.n_windows else "\n "
            self.stream.write(separator + _to_json(answer.to_dict()))
        elif self.form == "csv":
            self.stream.write(format_csv(_list_cells(self.path, answer)))
        self.n_windows += 1

    def end(self, stream: WindowStream, segments: Sequence[Segment]) -> None:
        """The recording is done, or as much of it as there will be."""
        if self.form == "json":
            tail = {
                "segments": [s.to_dict() for s in segments],
                "duration_s": round(stream.duration_s, 3),
                "damage": stream.damage.to_dict(),
                "warnings": stream.warnings,
            }
            self.stream.write(f"\n], {_to_json(tail)[1:]}")
        elif self.form == "text":
            length = f"{format_time(stream.duration_s)}, {self.n_windows} windows"
            self.stream.write(f"{self.path}  {length}\n")
            self.stream.writelines(format_segment(s) for s in segments)
        self.stream.flush()

    def finish(self) -> None:
        """No further recording comes."""
        if self.form == "json":
            self.stream.write("\n]\n" if self.n_files else "[]\n")


def format_segment(segment: Segment) -> str:
    """One line: from, to, label, its mean probability."""
    said = "no answer" if segment.label is None else f"{segment.label} {segment.confidence:.2f}"
    return f"  {format_time(segment.start_s)} - {format_time(segment.end_s)}  {said}\n"


def format_time(time_s: float) -> str:
    """m:ss.s, or h:mm:ss.s from an hour on."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, left = divmod(minutes, 60)
    head = f"{hours}:{left:02d}" if hours else f"{left}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def format_window(answer: WindowPrediction) -> str:
    """One line: end of the window, label, its probability, modalities used or why none."""
    if answer.label is None:
        said = f"no answer: {', '.join(map(str, answer.states))}"
    else:
        said = f"{answer.label} {answer.confidence:.2f}  from {' and '.join(answer.modalities)}"
    return f"{format_time(answer.end_s)}  {said}\n"


def _list_cells(path: Path, answer: WindowPrediction) -> list[Any]:
    probs = [""] * len(EMOTIONS)
    if answer.probs is not None:
        probs = [f"{p:.6f}" for p in answer.probs.values()]
    box = ["", "", "", "", ""]
    if answer.face is not None:
        box = [str(answer.face.id), *(f"{v:.1f}" for v in answer.face.box)]
    return [
        path, f"{answer.start_s:.3f}", f"{answer.end_s:.3f}", answer.label or "", *probs,
        "+".join(answer.modalities), " ".join(map(str, answer.states)), *box,
    ]  # fmt: skip


def _to_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)
