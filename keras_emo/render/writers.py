"""Output formats by name: text, CSV and JSON, and those that installed packages register."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TextIO

from keras_emo.errors import Reason, UsageError
from keras_emo.extensions import load_extensions
from keras_emo.inference.results import TIMELINE_SCHEMA, Prediction, Timeline, WindowPrediction
from keras_emo.labels import EMOTIONS

NOTHING = "no prediction"  # instead of a label
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


MakePredictionWriter = Callable[[TextIO], WritesPredictions]
MakeTimelineWriter = Callable[[TextIO], WritesTimelines]
_FORMATS: dict[str, tuple[MakePredictionWriter | None, MakeTimelineWriter | None]] = {}


def register_format(
    name: str,
    *,
    predictions: MakePredictionWriter | None = None,
    timelines: MakeTimelineWriter | None = None,
) -> None:
    """Register what makes a format's writers: for clips, for timelines or for both."""
    if name in _FORMATS:
        raise ValueError(f"a format named {name} is registered already")
    _FORMATS[name] = predictions, timelines


def find_format(name: str, timeline: bool) -> Callable[[TextIO], Any]:
    """What makes a WritesTimelines or a WritesPredictions. Raises UsageError where none does."""
    if name not in _FORMATS:  # other packages are searched only if that is necessary
        load_extensions(GROUP)
    if name not in _FORMATS:
        cause = f"no such format; known are {', '.join(_FORMATS)}"
        raise UsageError(name, Reason.BAD_CONFIG, cause)
    make_writer = _FORMATS[name][timeline]
    if make_writer is None:
        cause = "not a format for --timeline" if timeline else "a format for --timeline only"
        raise UsageError(name, Reason.BAD_CONFIG, cause)
    return make_writer


class _Writer:
    """Common to all: a stream, its form, the header of CSV and the array of JSON."""

    def __init__(self, stream: TextIO, form: str, header: Iterable[str]):
        self.stream, self.form, self.opening = stream, form, "[\n"
        if form == "csv":
            stream.write(format_csv(header))

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
            self.stream.write(format_csv([
                p.path, p.label, *_format_probs(p.probs), "+".join(p.modalities),
                p.faces.with_face, p.faces.examined, f"{p.duration_s:.3f}",
                "; ".join([*map(str, p.states), *p.warnings]),
            ]))  # fmt: skip
        else:
            used, faces = " and ".join(p.modalities), p.faces
            self.stream.write(
                f"{p.path}  {p.label} {p.confidence:.2f}  from {used}"
                f"  face in {faces.with_face} of {faces.examined} frames\n"
            )
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
            w, face = window, [""] * 5
            if w.face is not None:
                face = [str(w.face.id), *(f"{v:.1f}" for v in w.face.box)]
            self.stream.write(format_csv([
                path, f"{w.start_s:.3f}", f"{w.end_s:.3f}", w.label or "", *_format_probs(w.probs),
                "+".join(w.modalities), " ".join(map(str, w.states)), *face,
            ]))  # fmt: skip

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
            for s in timeline.segments:
                found = NOTHING if s.label is None else f"{s.label} {s.confidence:.2f}"
                times = f"{format_time(s.start_s)} - {format_time(s.end_s)}"
                self.stream.write(f"  {times}  {found}\n")
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


def format_window(window: WindowPrediction) -> str:
    """One line: end of the window, label, its probability, modalities used or why there is none."""
    found = f"{NOTHING}: {', '.join(map(str, window.states))}"
    if window.label is not None:
        found = f"{window.label} {window.confidence:.2f}  from {' and '.join(window.modalities)}"
    return f"{format_time(window.end_s)}  {found}\n"


def format_time(time_s: float) -> str:
    """m:ss.s, or h:mm:ss.s from an hour on."""
    minutes, rest = divmod(round(time_s * 10), 600)
    hours, left = divmod(minutes, 60)
    head = f"{hours}:{left:02d}" if hours else f"{left}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def _format_probs(probs: Mapping[str, float] | None) -> list[str]:
    return ["" if probs is None else f"{probs[name]:.6f}" for name in EMOTIONS]
