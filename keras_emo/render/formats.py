"""Formats of answers by name: those of writers, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TextIO

from keras_emo.errors import Reason, UsageError
from keras_emo.extensions import load_extensions
from keras_emo.inference.predict import WindowStream
from keras_emo.inference.results import Prediction, Segment, WindowPrediction
from keras_emo.render.writers import FORMATS as OWN
from keras_emo.render.writers import PredictionWriter, TimelineWriter

GROUP = "keras_emo.formats"  # of entry points: modules of other packages that register a format


class WritesPredictions(Protocol):
    """Takes the answers to clips, one by one."""

    def add(self, p: Prediction, /) -> None: ...
    def finish(self) -> None: ...


class WritesTimelines(Protocol):
    """Takes recordings, one by one: begin, add for each window, end; at last finish."""

    def begin(self, path: Path, window_s: float, hop_s: float, /) -> None: ...
    def add(self, answer: WindowPrediction, /) -> None: ...
    def end(self, stream: WindowStream, segments: Sequence[Segment], /) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class FormatEntry:
    """A registered format: what opens its writers on a stream of text, None where it has none."""

    name: str
    answers: Callable[[TextIO], WritesPredictions] | None
    timeline: Callable[[TextIO], WritesTimelines] | None


_FORMATS: dict[str, FormatEntry] = {}


def register_format(
    name: str,
    *,
    answers: Callable[[TextIO], WritesPredictions] | None = None,
    timeline: Callable[[TextIO], WritesTimelines] | None = None,
) -> None:
    """Enter a format under a name, for clips, for timelines or for both."""
    if name in _FORMATS:
        raise ValueError(f"a format named {name} is registered already")
    _FORMATS[name] = FormatEntry(name, answers, timeline)


for _name in OWN:
    register_format(
        _name,
        answers=partial(PredictionWriter, form=_name),
        timeline=partial(TimelineWriter, form=_name),
    )


def find_prediction_format(name: str) -> Callable[[TextIO], WritesPredictions]:
    """What opens a writer of answers. Raises UsageError where there is no such format."""
    found = _find(name).answers
    if found is None:
        raise UsageError(name, Reason.BAD_CONFIG, "a format for --timeline alone")
    return found


def find_timeline_format(name: str) -> Callable[[TextIO], WritesTimelines]:
    """What opens a writer of timelines. Raises UsageError where there is no such format."""
    found = _find(name).timeline
    if found is None:
        raise UsageError(name, Reason.BAD_CONFIG, "not a format for --timeline")
    return found


def _find(name: str) -> FormatEntry:
    if name not in _FORMATS:  # other packages are looked through only where they are needed
        load_extensions(GROUP)
    if name not in _FORMATS:
        cause = f"no such format; known are {', '.join(_FORMATS)}"
        raise UsageError(name, Reason.BAD_CONFIG, cause)
    return _FORMATS[name]
