"""What a model returns: one definition for the Python API, the CLI's JSON and the service.

All of them are frozen, and hold plain Python values: ``to_dict`` is what JSON holds, with times
rounded to milliseconds and probabilities to six digits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

from keras_emo.errors import Reason
from keras_emo.labels import EMOTIONS

if TYPE_CHECKING:  # importing the results alone is cheap
    import pandas

MODALITIES = ("face", "voice")
Probs = Mapping[str, float]
TIMELINE_SCHEMA = 1
NOT_IN_JSON = {"json": False}  # metadata of fields that to_dict leaves out


def name_probs(probs: Iterable[float]) -> dict[str, float]:
    """Probabilities (7,), in the order of EMOTIONS, by name."""
    return dict(zip(EMOTIONS, map(float, probs), strict=True))


def find_label(probs: Probs) -> tuple[str, float]:
    """The most probable emotion and its probability."""
    label = max(probs, key=probs.__getitem__)
    return label, probs[label]


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and codes as what JSON knows; times and probabilities rounded."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    return str(value) if isinstance(value, Reason) else value


class Result:
    """What every result can do; its subclasses are frozen dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the fields, as JSON has them."""
        own = fields(self)  # type: ignore[arg-type]
        values = {f.name: getattr(self, f.name) for f in own if f.metadata.get("json", True)}
        return {
            name: round(value, 3) if name.endswith("_s") and value is not None else to_plain(value)
            for name, value in values.items()
        }

    def to_json(self, indent: int | None = None) -> str:
        """to_dict as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


@dataclass(frozen=True)
class FaceCount(Result):
    """In how many of the sampled frames the subject's face was found."""

    with_face: int
    examined: int


@dataclass(frozen=True)
class Damage(Result):
    """What of a recording could not be read: packets skipped, seconds missing at the end."""

    packets: int = 0
    missing_s: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.packets or self.missing_s)


@dataclass(frozen=True)
class Face(Result):
    """A face in a window.

    id: the same number wherever a person was followed without a break. box: x, y, width, height
    in px of the upright picture, about the middle of the window.
    """

    id: int | None
    box: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "box": [round(v, 1) for v in self.box]}


@dataclass(frozen=True, repr=False)
class Prediction(Result):
    """The prediction for one clip.

    path: as it was given, None for arrays. label: the most probable emotion. confidence: its
    probability. probs: probability by emotion, they sum to 1. modalities: which were used, of
    "face" and "voice". states: why a modality is missing. probs_face, probs_voice: from that
    modality alone, None if not requested or missing.

    >>> prediction.label, round(prediction.confidence, 2)     # doctest: +SKIP
    ('happy', 0.93)
    """

    path: str | None
    label: str
    confidence: float
    probs: Probs
    modalities: tuple[str, ...]
    states: tuple[Reason, ...]
    faces: FaceCount
    duration_s: float
    damage: Damage
    warnings: tuple[str, ...]
    probs_face: Probs | None = None
    probs_voice: Probs | None = None

    @property
    def degraded(self) -> bool:
        """Whether a modality of the model was missing, or what was read is damaged."""
        return bool(self.states or self.damage)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row, a column an emotion. Needs pandas."""
        return make_dataframe([self])

    def __repr__(self) -> str:
        used = "+".join(self.modalities)
        return f"Prediction({self.label} {self.confidence:.2f}, from {used}, path={self.path!r})"


@dataclass(frozen=True, repr=False)
class Segment(Result):
    """A stretch of a recording with one label, None where no window could be predicted.

    confidence: mean, over its windows, of the label's probability; None without a label.
    """

    start_s: float
    end_s: float
    label: str | None
    confidence: float | None

    def __repr__(self) -> str:
        return _represent(self)


@dataclass(frozen=True, repr=False)
class WindowPrediction(Result):
    """The prediction for one window of a recording; label and probs None where it abstains.

    Times are seconds from the recording's start; the others are as in Prediction.
    """

    start_s: float
    end_s: float
    label: str | None
    confidence: float | None
    probs: Probs | None
    modalities: tuple[str, ...]
    states: tuple[Reason, ...]
    face: Face | None
    probs_face: Probs | None = None
    probs_voice: Probs | None = None

    def __repr__(self) -> str:
        return _represent(self)


def _represent(found: Segment | WindowPrediction) -> str:
    label = "no prediction" if found.label is None else f"{found.label} {found.confidence:.2f}"
    return f"{type(found).__name__}({found.start_s:.1f}-{found.end_s:.1f} s: {label})"


@dataclass(frozen=True, repr=False)
class Timeline(Result):
    """The predictions for a recording of any length.

    window_s, hop_s: length of a window, and from one to the next. windows: in order, they
    overlap. segments: from start to end without gaps, one label each. schema: of to_dict.
    """

    schema: int = field(default=TIMELINE_SCHEMA, kw_only=True)
    path: str
    window_s: float
    hop_s: float
    windows: tuple[WindowPrediction, ...]
    segments: tuple[Segment, ...]
    duration_s: float
    damage: Damage
    warnings: tuple[str, ...]

    @property
    def faces(self) -> tuple[Face, ...]:
        """Every person who was followed, where they first appear."""
        found: dict[int | None, Face] = {}
        for window in self.windows:
            if window.face is not None:
                found.setdefault(window.face.id, window.face)
        return tuple(found.values())

    @property
    def states(self) -> dict[str, int]:
        """Why a modality was missing, and in how many windows."""
        return dict(Counter(str(state) for window in self.windows for state in window.states))

    @property
    def degraded(self) -> bool:
        """Whether a modality was missing in a window, or what was read is damaged."""
        return bool(self.states or self.damage)

    @property
    def end_s(self) -> float:
        """Where the last window and segment end, as far as the recording was read."""
        return max(self.duration_s, *(w.end_s for w in self.windows[-1:]), 0.0)

    def to_dataframe(self) -> pandas.DataFrame:
        """A row a window, a column an emotion. Needs pandas."""
        return make_dataframe(self.windows)

    def plot(self, target: str | PathLike[str]) -> None:
        """Draw the probabilities over time and the segments, as a PNG file."""
        from keras_emo.render.chart import write_chart

        write_chart(target, self)

    def to_html(self) -> str:
        """A report for people: one HTML page that needs no other file."""
        from keras_emo.render.report import render_report

        return render_report(self)

    def __repr__(self) -> str:
        what = f"{len(self.windows)} windows, {len(self.segments)} segments"
        return f"Timeline({self.duration_s:.1f} s, {what}, path={self.path!r})"


def flatten(result: Prediction | WindowPrediction) -> dict[str, Any]:
    """A result as one row: plain values, probabilities in a column each."""
    row = result.to_dict()
    probs = row.pop("probs") or dict.fromkeys(EMOTIONS)
    return {**row, **probs}


def make_dataframe(results: Sequence[Prediction | WindowPrediction]) -> pandas.DataFrame:
    """A row a result. Raises ImportError with the command to install it."""
    try:
        import pandas
    except ImportError as e:
        raise ImportError("to_dataframe needs pandas: pip install pandas") from e
    return pandas.DataFrame.from_records([flatten(result) for result in results])
