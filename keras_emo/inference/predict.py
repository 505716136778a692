"""Predictions for a clip and for the windows of a recording, from what was prepared of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_emo.errors import BundleError, ClipError, Reason, UsageError
from keras_emo.features.clip import ClipInputs, describe_damage
from keras_emo.inference.batch import can_predict, choose_frame
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.results import (
    NOT_IN_JSON,
    Damage,
    Face,
    FaceCount,
    Prediction,
    Probs,
    Result,
    Timeline,
    WindowPrediction,
    find_label,
    name_probs,
)
from keras_emo.inference.segments import find_segments, stack_probs
from keras_emo.inference.windows import Window, WindowCutter
from keras_emo.media.decode import Decoding
from keras_emo.media.reader import open_media

if TYPE_CHECKING:
    from keras_emo.inference.model import Model

WINDOW_S, HOP_S = 3.0, 1.0
MIN_WINDOW_S, MIN_HOP_S = 0.5, 0.2
MAX_THUMBNAILS = 8
_NO_LIMIT = 1 << 31  # sampled frames; the length of a recording is limited in seconds


def split_modalities(
    inputs: ClipInputs, names: Sequence[str], parts: bool
) -> dict[str, ClipInputs]:
    """What to predict from, by field of the result: the clip, with parts each modality alone too.

    names: inputs of the network; what it cannot predict from is left out.
    """
    clips = {"probs": inputs}
    if parts:
        clips["probs_face"] = replace(inputs, mfcc=None)
        clips["probs_voice"] = replace(inputs, face=None)
    return {field: clip for field, clip in clips.items() if can_predict(clip, names)}


def name_rows(
    clips: Iterable[str], rows: np.ndarray, bundle: Bundle, what: str
) -> dict[str, Probs]:
    """Probabilities (n, 7) of what split_modalities gives, by field of the result.

    what: they are for. Raises BundleError for some that are not numbers.
    """
    if not np.isfinite(rows).all():
        cause = f"its prediction for {what} is not a number"
        raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, cause)
    return dict(zip(clips, map(name_probs, rows), strict=True))


def predict_inputs(model: Model, inputs: ClipInputs, parts: bool, what: str) -> dict[str, Probs]:
    """Probabilities by field of the result; none where the network cannot predict."""
    clips = split_modalities(inputs, model.bundle.inputs, parts)
    if not clips:
        return {}
    return name_rows(clips, model.compute_probs(list(clips.values())), model.bundle, what)


def make_prediction(
    path: str | Path | None, inputs: ClipInputs, probs: Mapping[str, Probs]
) -> Prediction:
    """The prediction for a prepared clip. path: to name. probs: as name_rows gives them."""
    label, confidence = find_label(probs["probs"])
    return Prediction(
        path=None if path is None else str(path),
        label=label,
        confidence=confidence,
        modalities=inputs.modalities,
        states=inputs.states,
        faces=FaceCount(int(inputs.face_found.sum()), inputs.frames_examined),
        duration_s=inputs.duration_s,
        damage=Damage(inputs.damaged_packets, inputs.missing_s),
        warnings=inputs.warnings,
        **probs,
    )


@dataclass(frozen=True, repr=False, eq=False)
class TrackedWindow(WindowPrediction):
    """A WindowPrediction with what renderers need.

    times_s, boxes: float32 (n,), (n, 4) x, y, width, height in px of the upright picture, of
    the frames that were used. crop: RGB uint8 (size, size, 3) of a face about the middle of the
    window, as the network gets it; crop_s: its time.
    """

    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0), metadata=NOT_IN_JSON)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)), metadata=NOT_IN_JSON)
    crop: np.ndarray | None = field(default=None, metadata=NOT_IN_JSON)
    crop_s: float | None = field(default=None, metadata=NOT_IN_JSON)

    def to_plain(self) -> WindowPrediction:
        """Without the arrays."""
        return WindowPrediction(**{f.name: getattr(self, f.name) for f in fields(WindowPrediction)})


def predict_window(model: Model, window: Window, parts: bool = False) -> TrackedWindow:
    """The prediction for a window, which abstains without what the network needs.

    parts: also from each modality alone. Raises BundleError if it is not a number.
    """
    inputs = window.inputs
    alone = predict_inputs(model, inputs, parts, f"the window at {window.start_s:g} s")
    probs = alone.pop("probs", None)
    label, confidence = (None, None) if probs is None else find_label(probs)
    middle = choose_frame(inputs.face_found) if inputs.face is not None else 0
    face = None
    if len(inputs.boxes):
        x, y, width, height = inputs.boxes[len(inputs.boxes) // 2].tolist()
        face = Face(inputs.face_id, (x, y, width, height))
    return TrackedWindow(
        start_s=window.start_s,
        end_s=window.end_s,
        label=label,
        confidence=confidence,
        probs=probs,
        modalities=() if probs is None else inputs.modalities,
        states=inputs.states,
        face=face,
        probs_face=alone.get("probs_face"),
        probs_voice=alone.get("probs_voice"),
        times_s=inputs.times_s,
        boxes=inputs.boxes,
        crop=None if inputs.face is None else inputs.face[middle].copy(),  # not a view of all
        crop_s=None if inputs.face is None else float(inputs.times_s[middle]),
    )


def choose_lengths(
    bundle: Bundle, window_s: float | None, hop_s: float | None
) -> tuple[float, float]:
    """Window and hop in s: as given, or WINDOW_S and HOP_S if the network takes that much.

    Raises UsageError for windows longer than the network's, or that leave gaps.
    """
    longest_s = bundle.spec.audio.duration_s
    window_s = min(WINDOW_S, longest_s) if window_s is None else window_s
    hop_s = min(HOP_S, window_s) if hop_s is None else hop_s
    for name, length_s, low_s, high_s in (
        ("window", window_s, min(MIN_WINDOW_S, longest_s), longest_s),
        ("hop", hop_s, min(MIN_HOP_S, window_s), window_s),
    ):
        if not low_s <= length_s <= high_s:
            cause = f"a {name} of {length_s:g} s, allowed {low_s:g} to {high_s:g}"
            raise UsageError("windows", Reason.BAD_CONFIG, cause)
    return window_s, hop_s


@dataclass(frozen=True)
class ReadState(Result):
    """How far a recording was read, its declared length, and what of it could not be read."""

    duration_s: float = 0.0
    declared_s: float = 0.0
    damage: Damage = field(default_factory=Damage)
    warnings: tuple[str, ...] = ()


Steps = Iterator[tuple[TrackedWindow | None, ReadState]]


class WindowStream(Iterator[TrackedWindow]):
    """The windows of a recording, each as soon as it is complete; one pass, constant memory.

    state, and its duration_s, damage and warnings: as far as the recording was read, complete
    once the last window is out.
    """

    def __init__(self, path: Path, window_s: float, hop_s: float, steps: Steps):
        self.path, self.window_s, self.hop_s, self._steps = path, window_s, hop_s, steps
        self._update(ReadState())

    def _update(self, state: ReadState) -> None:
        self.state, self.duration_s = state, state.duration_s
        self.damage, self.warnings = state.damage, state.warnings

    def __next__(self) -> TrackedWindow:
        for window, state in self._steps:
            self._update(state)
            if window is not None:
                return window
        raise StopIteration


def read_windows(model: Model, path: Path, window_s: float, hop_s: float, parts: bool) -> Steps:
    """The windows of a recording in this process, see WindowStream."""
    spec, modalities = model.bundle.spec, model.bundle.modalities
    with open_media(
        path,
        frame_rate_hz=spec.face.frame_rate_hz if "face" in modalities else None,
        max_frames=_NO_LIMIT,
        audio_s=None if "voice" in modalities else 0.0,
        threads=model.threads,
        max_px=spec.face.decode_max_px,
    ) as decoding:
        streams = decoding.streams
        cutter = WindowCutter(path, streams, spec, model.detector, modalities, window_s, hop_s)
        for _ in decoding.run(cutter.on_frame, cutter.on_audio):
            for window in cutter.pop():
                yield predict_window(model, window, parts), _describe_state(decoding, cutter)
        for window in cutter.finish(decoding.duration_s):
            yield predict_window(model, window, parts), _describe_state(decoding, cutter)
        yield None, _describe_state(decoding, cutter)


def _describe_state(decoding: Decoding, cutter: WindowCutter) -> ReadState:
    media = decoding.media
    late = ["picture and sound lie far apart in the file; some of one was not used"]
    warnings = describe_damage(media) + (late if cutter.came_late else [])
    damage = Damage(media.damaged_packets, media.missing_s)
    return ReadState(media.duration_s, media.declared_s, damage, tuple(warnings))


@dataclass(frozen=True)
class Thumbnail:
    """A face as the network gets it. crop: RGB uint8 (size, size, 3)."""

    label: str | None
    face_id: int | None
    time_s: float
    crop: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class IllustratedTimeline(Timeline):
    """A Timeline with what a report needs: a few faces, and the bundle that made it."""

    thumbnails: tuple[Thumbnail, ...] = field(default=(), metadata=NOT_IN_JSON)
    bundle: Bundle | None = field(default=None, metadata=NOT_IN_JSON)


class TimelineBuilder:
    """Collects the windows of a stream, without their arrays but for a few faces."""

    def __init__(self, stream: WindowStream, bundle: Bundle):
        self._stream, self._bundle = stream, bundle
        self._windows: list[WindowPrediction] = []
        self._thumbnails: list[Thumbnail] = []
        self._n_faces, self._every = 0, 1

    def add(self, window: TrackedWindow) -> None:
        """Add the next window."""
        self._windows.append(window.to_plain())
        if window.crop is None or window.crop_s is None or window.face is None:
            return
        if self._n_faces % self._every == 0:
            found = Thumbnail(window.label, window.face.id, window.crop_s, window.crop)
            self._thumbnails.append(found)
        self._n_faces += 1
        if len(self._thumbnails) > 4 * MAX_THUMBNAILS:
            self._thumbnails, self._every = self._thumbnails[::2], 2 * self._every

    def build(self) -> IllustratedTimeline:
        """The timeline of the windows so far; MAX_THUMBNAILS faces at most, spread evenly."""
        stream, windows = self._stream, self._windows
        n_kept = len(self._thumbnails)
        index = np.linspace(0, n_kept - 1, min(MAX_THUMBNAILS, n_kept)).round().astype(int)
        end_s = max(stream.duration_s, *(w.end_s for w in windows[-1:]), 0.0)
        probs = stack_probs([w.probs for w in windows])
        return IllustratedTimeline(
            path=str(stream.path),
            window_s=stream.window_s,
            hop_s=stream.hop_s,
            windows=tuple(windows),
            segments=tuple(find_segments(probs, stream.window_s, stream.hop_s, end_s)),
            duration_s=stream.duration_s,
            damage=stream.damage,
            warnings=stream.warnings,
            thumbnails=tuple(self._thumbnails[i] for i in index),
            bundle=self._bundle,
        )


def read_timeline(stream: WindowStream, bundle: Bundle) -> IllustratedTimeline:
    """The timeline of a stream. Raises ClipError, also where every window abstains."""
    builder = TimelineBuilder(stream, bundle)
    for window in stream:
        builder.add(window)
    timeline = builder.build()
    check_predicted(timeline)
    return timeline


def check_predicted(timeline: Timeline) -> None:
    """Raise ClipError where every window abstains."""
    if all(window.label is None for window in timeline.windows):
        cause = " and ".join(timeline.states) or "nothing to predict from"
        raise ClipError(timeline.path, Reason.NO_MODALITY, f"no window has a prediction: {cause}")
