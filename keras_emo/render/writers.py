"""Output formats by name: text, CSV and JSON, and those that installed packages register."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TextIO

from keras_emo.errors import Reason, UsageError
from keras_emo.extensions import load_extensions
from keras_emo.inference.results import (
    TIMELINE_SCHEMA,
    Prediction,
    Segment,
    Timeline,
    WindowPrediction,
)
from keras_emo.labels import EMOTIONS

GROUP = "keras_emo.formats"  # of entry points: modules of other packages that register a format
CSV_HEADER = (
    "path", "label", *EMOTIONS, "modalities", "frames_with_face", "frames_examined",
    "duration_s", "warnings",
)  # fmt: skip
WINDOW_HEADER = (
    "path", "start_s", "end_s", "label", *EMOTIONS, "modalities", "states", "face_id",
    "x_px", "y_px", "width_px", "height_px",
)  # fmt: skip


class WritesPredictions(Protocol):
    """Writes the predictions of clips: add for each, finish after the last."""

    def add(self, prediction: Prediction, /) -> None: ...
    def finish(self) -> None: ...


class WritesTimelines(Protocol):
    """Writes recordings: add for each window as it is predicted, then end; finish at last."""

    def add(self, path: str, window: WindowPrediction, /) -> None: ...
    def end(self, timeline: Timeline, /) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class Format:
    """A registered format: what makes its writers from a text stream; None where it has none."""

    predictions: Callable[[TextIO], WritesPredictions] | None
    timelines: Callable[[TextIO], WritesTimelines] | None


_FORMATS: dict[str, Format] = {}


def register_format(
    name: str,
    *,
    predictions: Callable[[TextIO], WritesPredictions] | None = None,
    timelines: Callable[[TextIO], WritesTimelines] | None = None,
) -> None:
    """Register a format under a name, for clips, for timelines or for both."""
    if name in _FORMATS:
        raise ValueError(f"a format named {name} is registered already")
    _FORMATS[name] = Format(predictions, timelines)


def find_prediction_format(name: str) -> Callable[[TextIO], WritesPredictions]:
    """What makes a writer of predictions. Raises UsageError if there is no such format."""
    found = _find(name).predictions
    if found is None:
        raise UsageError(name, Reason.BAD_CONFIG, "a format for --timeline only")
    return found


def find_timeline_format(name: str) -> Callable[[TextIO], WritesTimelines]:
    """What makes a writer of timelines. Raises UsageError if there is no such format."""
    found = _find(name).timelines
    if found is None:
        raise UsageError(name, Reason.BAD_CONFIG, "not a format for --timeline")
    return found


def _find(name: str) -> Format:
    if name not in _FORMATS:  # other packages are searched only if that is necessary
        load_extensions(GROUP)
    if name not in _FORMATS:
        cause = f"no such format; known are {', '.join(_FORMATS)}"
        raise UsageError(name, Reason.BAD_CONFIG, cause)
    return _FORMATS[name]


class _Writer:
    """Common to all: a stream, its form, the header of CSV and the array of JSON."""

    def __init__(self, stream: TextIO, form: str, header: Iterable[str]):
        self.stream, self.form, self.opening = stream, form, "[\n"
        if form == "csv":
            self.write_row(header)

    def write_row(self, cells: Iterable[object]) -> None:
        self.stream.write(format_csv(cells))

    def finish(self) -> None:
        """Nothing follows."""
        if self.form == "json":
            self.stream.write("[]\n" if self.opening == "[\n" else "\n]\n")


class PredictionWriter(_Writer):
    """Writes predictions to a stream, one by one; form: csv, json or text."""

    def __init__(self, stream: TextIO, form: str):
        super().__init__(stream, form, CSV_HEADER)

    def add(self, p: Prediction) -> None:
        """Write the next prediction."""
        if self.form == "json":
            self.stream.write(self.opening + p.to_json(indent=1))
            self.opening = ",\n"
        elif self.form == "csv":
            self.write_row([
                p.path, p.label, *_format_probs(p.probs), "+".join(p.modalities),
                p.faces.with_face, p.faces.examined, f"{p.duration_s:.3f}",
                "; ".join([*map(str, p.states), *p.warnings]),
            ])  # fmt: skip
        else:
            self.stream.write(format_prediction(p))
        self.stream.flush()  # a reader need not wait for the last clip


class TimelineWriter(_Writer):
    """Writes timelines to a stream.

    csv: a row per window, as it is predicted. text: a line per segment, once a recording is
    complete. json: an array with an object per recording, its windows written as they are
    predicted, see docs/commands.md.
    """

    def __init__(self, stream: TextIO, form: str):
        super().__init__(stream, form, WINDOW_HEADER)
        self._separator = ""  # before the next window; empty if a recording begins

    def add(self, path: str, window: WindowPrediction) -> None:
        """Write the next window of a recording."""
        if self.form == "json":
            self._begin(path)
            self.stream.write(self._separator + window.to_json())
            self._separator = ",\n "
        elif self.form == "csv":
            w, face = window, ["", "", "", "", ""]
            if w.face is not None:
                face = [str(w.face.id), *(f"{v:.1f}" for v in w.face.box)]
            self.write_row([
                path, f"{w.start_s:.3f}", f"{w.end_s:.3f}", w.label or "", *_format_probs(w.probs),
                "+".join(w.modalities), " ".join(map(str, w.states)), *face,
            ])  # fmt: skip

    def end(self, timeline: Timeline) -> None:
        """The recording is complete, or as much of it as could be read."""
        if self.form == "json":
            self._begin(timeline.path)
            rest = replace(timeline, windows=()).to_dict()
            del rest["schema"], rest["path"], rest["windows"]
            self.stream.write(f"\n], {json.dumps(rest, ensure_ascii=False)[1:]}")
            self._separator = ""
        elif self.form == "text":
            length = f"{format_time(timeline.duration_s)}, {len(timeline.windows)} windows"
            self.stream.write(f"{timeline.path}  {length}\n")
            self.stream.writelines(format_segment(s) for s in timeline.segments)
        self.stream.flush()

    def _begin(self, path: str) -> None:
        """Open the object of a recording, unless it is open."""
        if not self._separator:
            head = json.dumps({"schema": TIMELINE_SCHEMA, "path": path}, ensure_ascii=False)
            self.stream.write(f'{self.opening}{head[:-1]}, "windows": [')
            self.opening, self._separator = ",\n", "\n "


for _name in ("csv", "json", "text"):
    register_format(
        _name,
        predictions=partial(PredictionWriter, form=_name),
        timelines=partial(TimelineWriter, form=_name),
    )


def format_csv(cells: Iterable[object]) -> str:
    """One line of cells, quoted where necessary."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue()[:-2] + "\n"  # with "\n" as terminator, "\r" in a cell is not quoted


def format_prediction(p: Prediction) -> str:
    """One line: path, label, its probability, modalities used."""
    return (
        f"{p.path}  {p.label} {p.confidence:.2f}  from {' and '.join(p.modalities)}"
        f"  face in {p.faces.with_face} of {p.faces.examined} frames\n"
    )


def format_segment(segment: Segment) -> str:
    """One line: start, end, label, its mean probability."""
    found = (
        "no prediction" if segment.label is None else f"{segment.label} {segment.confidence:.2f}"
    )
    return f"  {format_time(segment.start_s)} - {format_time(segment.end_s)}  {found}\n"


def format_window(window: WindowPrediction) -> str:
    """One line: end of the window, label, its probability, modalities used or why there is none."""
    found = f"no prediction: {', '.join(map(str, window.states))}"
    if window.label is not None:
        found = f"{window.label} {window.confidence:.2f}  from {' and '.join(window.modalities)}"
    return f"{format_time(window.end_s)}  {found}\n"


def format_time(time_s: float) -> str:
    """m:ss.s, or h:mm:ss.s from an hour on."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, left = divmod(minutes, 60)
    head = f"{hours}:{left:02d}" if hours else f"{left}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def _format_probs(probs: Mapping[str, float] | None) -> list[str]:
    return ["" if probs is None else f"{probs[name]:.6f}" for name in EMOTIONS]
