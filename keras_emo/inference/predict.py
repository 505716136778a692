"""Answers to the windows of a recording of any length, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_emo.errors import BundleError, Reason, UsageError
from keras_emo.features.clip import ClipInputs, describe_damage
from keras_emo.features.face import Box
from keras_emo.features.tracking import Detector
from keras_emo.inference.batch import can_predict, choose_frame
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.modalities import Parts, describe_parts, name_probs, split_parts
from keras_emo.inference.windows import Window, WindowCutter, check_lengths
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import stream_media
from keras_emo.media.recording import Media

WINDOW_S, HOP_S = 3.0, 1.0
_NO_LIMIT = 1 << 31  # sampled frames; the length of a recording is limited in seconds


class Answering(Protocol):
    """A Predictor, as far as it is needed here."""

    bundle: Bundle
    threads: int

    @property
    def detector(self) -> Detector: ...

    def answer(self, clips: list[ClipInputs]) -> np.ndarray: ...


@dataclass(frozen=True)
class WindowPrediction:
    """What is said about one window.

    label, probs: None where the window abstains, else probs float32 (7,) in the order of
    EMOTIONS. modalities: which were used. states: why one is missing. face_id: whose face it
    is, the same number in every window in which a person was followed without a break.
    times_s, boxes: float32 (n,), (n, 4) x, y, width, height in px of the upright picture, of
    the frames that were used. parts: what each modality says alone, None if not asked for.
    crop: time in s and RGB uint8 (size, size, 3) of a face about the middle of the window, as
    the network saw it.
    """

    start_s: float
    end_s: float
    label: str | None
    probs: np.ndarray | None
    modalities: list[str]
    states: list[Reason]
    face_id: int | None
    times_s: np.ndarray
    boxes: np.ndarray
    parts: Parts | None = None
    crop: tuple[float, np.ndarray] | None = None

    @property
    def box(self) -> Box | None:
        """Of the face in the middle of the window."""
        if not len(self.boxes):
            return None
        x, y, width, height = self.boxes[len(self.boxes) // 2].tolist()
        return x, y, width, height

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``predict --timeline --format json`` writes them."""
        face = None
        if self.box is not None:
            face = {"id": self.face_id, "box": [round(v, 1) for v in self.box]}
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "probs": name_probs(self.probs),
            "modalities": self.modalities,
            "states": [str(s) for s in self.states],
            "face": face,
            **describe_parts(self.parts),
        }


class RecordingPredictions(Protocol):
    """Answers to one recording as they come, WindowAnswers or another's."""

    window_s: float
    hop_s: float
    media: Media

    @property
    def duration_s(self) -> float: ...
    @property
    def warnings(self) -> list[str]: ...
    def __iter__(self) -> Iterator[WindowPrediction]: ...
    def __next__(self) -> WindowPrediction: ...


def predict_window(predictor: Answering, window: Window, parts: bool = False) -> WindowPrediction:
    """The network's answer; a window without what the network needs abstains.

    parts: also what each modality says alone. Raises BundleError where an answer is no number.
    """
    inputs, names = window.inputs, predictor.bundle.inputs
    alone = split_parts(inputs, names) if parts else {}
    probs: np.ndarray | None = None
    said: dict[str, np.ndarray] = {}
    if can_predict(inputs, names):
        probs, *rest = predictor.answer([inputs, *alone.values()])
        said = dict(zip(alone, rest, strict=True))
        where = f"the window at {window.start_s:g} s"
        for answer in (probs, *rest):
            check_finite(answer, predictor.bundle, where)
    return WindowPrediction(
        start_s=window.start_s,
        end_s=window.end_s,
        label=None if probs is None else EMOTIONS[int(probs.argmax())],
        probs=probs,
        modalities=[] if probs is None else inputs.modalities,
        states=inputs.states,
        face_id=inputs.face_id,
        times_s=inputs.times_s,
        boxes=inputs.boxes,
        parts=said if parts else None,
        crop=_pick_crop(inputs),
    )


def check_finite(probs: np.ndarray, bundle: Bundle, asked: str) -> None:
    """Raise BundleError where a network's answer is no number. asked: what it was asked about."""
    if not np.isfinite(probs).all():
        cause = f"its answer to {asked} is no number"
        raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, cause)


def _pick_crop(inputs: ClipInputs) -> tuple[float, np.ndarray] | None:
    if inputs.face is None:
        return None
    i = choose_frame(inputs.face_found)
    return float(inputs.times_s[i]), inputs.face[i].copy()  # not the whole window's crops


def choose_lengths(
    bundle: Bundle, window_s: float | None, hop_s: float | None
) -> tuple[float, float]:
    """Window and hop in s: as asked, or WINDOW_S and HOP_S if the network hears that much.

    Raises UsageError for others than core.stream.check_lengths allows.
    """
    window_s = min(WINDOW_S, bundle.spec.audio.duration_s) if window_s is None else window_s
    hop_s = min(HOP_S, window_s) if hop_s is None else hop_s
    try:
        check_lengths(bundle.spec, window_s, hop_s)
    except ValueError as e:
        raise UsageError("windows", Reason.BAD_CONFIG, str(e)) from None
    return window_s, hop_s


class WindowPredictions(Iterator[WindowPrediction]):
    """One pass over a recording; yields an answer as soon as its window is complete.

    Constant memory. media: how the reading goes, complete when the last answer is out. parts:
    every answer also says what each modality says alone.
    Raises UsageError for lengths out of range, ClipError as Predictor.predict does, where the
    file cannot be read; a file with nothing to answer gives windows that abstain.
    """

    def __init__(
        self,
        predictor: Answering,
        path: Path,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
    ):
        self.path, self.media, self.parts = path, Media(), parts
        self.window_s, self.hop_s = choose_lengths(predictor.bundle, window_s, hop_s)
        self._cutter = WindowCutter(
            path,
            self.media,
            predictor.bundle.spec,
            predictor.detector,
            predictor.bundle.modalities,
            self.window_s,
            self.hop_s,
        )
        self._steps = self._answer(predictor)

    def __next__(self) -> WindowPrediction:
        return next(self._steps)

    @property
    def duration_s(self) -> float:
        """As far as it has been read."""
        return self.media.duration_s

    @property
    def warnings(self) -> list[str]:
        """What of the recording could not be read."""
        late = ["picture and sound lie far apart in the file; some of one was not used"]
        return describe_damage(self.media) + (late if self._cutter.came_late else [])

    def _answer(self, predictor: Answering) -> Iterator[WindowPrediction]:
        cutter, spec = self._cutter, predictor.bundle.spec
        modalities = predictor.bundle.modalities

        def take(frame: np.ndarray, time_s: float) -> None:
            cutter.see(frame, time_s)
            del self.media.times_s[:-1], self.media.scales[:-1]  # constant memory

        steps = stream_media(
            self.path,
            self.media,
            frame_rate_hz=spec.face.frame_rate_hz if "face" in modalities else None,
            max_frames=_NO_LIMIT,
            audio_s=None if "voice" in modalities else 0.0,
            threads=predictor.threads,
            take=take,
            max_px=spec.face.decode_max_px,
            hear=cutter.hear,
        )
        for _ in steps:
            for window in cutter.pop():
                yield predict_window(predictor, window, self.parts)
        for window in cutter.finish(self.media.duration_s):
            yield predict_window(predictor, window, self.parts)
