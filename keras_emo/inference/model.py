"""A video to an answer: bundle, detector and session behind one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import BundleError, ClipError, Reason
from keras_emo.features.clip import ClipInputs, prepare_clip
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.features.tracking import Detector
from keras_emo.inference.batch import Batch, can_predict, predict_clips
from keras_emo.inference.bundle import Bundle, load_bundle
from keras_emo.inference.modalities import Parts, describe_parts, name_probs
from keras_emo.inference.predict import RecordingPredictions, WindowPredictions, check_finite
from keras_emo.inference.session import REFUSED, available_cores, open_session
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource


@dataclass
class Prediction:
    """The answer for one clip.

    probs: float (7,), in the order of EMOTIONS. modalities: which were used. states: why one
    is missing. frames_with_face of frames_examined sampled frames showed a face.
    damaged_packets, missing_s: damage within what was read, as in core.media.Media. parts: what
    each modality says alone, None if not asked for.
    """

    path: Path
    label: str
    probs: np.ndarray
    modalities: list[str]
    states: list[Reason]
    warnings: list[str]
    frames_with_face: int
    frames_examined: int
    duration_s: float
    damaged_packets: int = 0
    missing_s: float = 0.0
    parts: Parts | None = None

    @property
    def degraded(self) -> bool:
        """Whether a modality of the network was missing or what was read is damaged."""
        return bool(self.states or self.damaged_packets or self.missing_s)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``predict --format json`` writes them."""
        return {
            "path": str(self.path),
            "label": self.label,
            "probs": name_probs(self.probs),
            "modalities": self.modalities,
            "states": [str(s) for s in self.states],
            "faces": {"with_face": self.frames_with_face, "examined": self.frames_examined},
            "duration_s": round(self.duration_s, 3),
            "damage": {
                "packets": self.damaged_packets,
                "missing_s": round(self.missing_s, 3),
            },
            "warnings": self.warnings,
            **describe_parts(self.parts),
        }


def describe_clip(
    path: Path, inputs: ClipInputs, probs: np.ndarray, parts: Parts | None = None
) -> Prediction:
    """The answer for a prepared clip, given its probabilities (7,); path: to name."""
    return Prediction(
        path=path,
        label=EMOTIONS[int(probs.argmax())],
        probs=probs,
        modalities=inputs.modalities,
        states=inputs.states,
        warnings=inputs.warnings,
        frames_with_face=int(inputs.face_found.sum()),
        frames_examined=inputs.frames_examined,
        duration_s=inputs.duration_s,
        damaged_packets=inputs.damaged_packets,
        missing_s=inputs.missing_s,
        parts=parts,
    )


def prepare_for_model(
    source: ClipSource | Path, bundle: Bundle, detector: Detector, threads: int
) -> ClipInputs:
    """What a bundle's network sees of a clip. Raises ClipError where it cannot be answered."""
    if not isinstance(source, ClipSource):
        source = ClipSource(video=source)
    inputs = prepare_clip(source, bundle.spec, detector, bundle.modalities, threads)
    if not can_predict(inputs, bundle.inputs):
        needed = " and ".join(bundle.modalities)
        reason = inputs.states[0] if inputs.states else Reason.NO_MODALITY
        raise ClipError(source.path, reason, f"the network needs {needed}")
    return inputs


class Predictor:
    """Loads a bundle once and answers clips; not to be shared between threads while it answers.

    threads: of the network and of decoding; 0: one a core this process may use. detector: finds
    the faces instead of the bundle's networks. Raises BundleError where the bundle is refused.
    """

    def __init__(self, folder: Path | Bundle, threads: int = 0, detector: Detector | None = None):
        self.bundle = folder if isinstance(folder, Bundle) else load_bundle(folder)
        self.threads = threads = threads or available_cores()
        self.session = open_session(self.bundle.model_path, threads)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self._check_names()
        if detector is None:
            detector = FaceDetector(self.bundle.detector_folder, self.bundle.spec.face)
        self.detector: Detector = detector

    def _check_names(self) -> None:
        inputs = [i.name for i in self.session.get_inputs()]
        for what, described, found in (
            ("inputs", self.bundle.inputs, inputs),
            ("outputs", self.bundle.outputs, self.outputs),
        ):
            if sorted(described) != sorted(found):
                cause = f"its {what} are {found}, bundle.json says {list(described)}"
                raise BundleError(self.bundle.model_path, Reason.BAD_BUNDLE, cause)

    def run(self, feed: Batch) -> dict[str, np.ndarray]:
        """The network on arrays, float32, as bundle.json describes them.

        Raises BundleError where the network takes no such arrays.
        """
        try:
            answers = self.session.run(None, feed)
        except REFUSED as e:
            raise BundleError(self.bundle.model_path, Reason.BAD_BUNDLE, str(e)) from e
        return dict(zip(self.outputs, answers, strict=True))

    def prepare(self, source: ClipSource | Path) -> ClipInputs:
        """What the network sees of a clip. Raises ClipError where it cannot be answered."""
        return prepare_for_model(source, self.bundle, self.detector, self.threads)

    def predict(self, source: ClipSource | Path) -> Prediction:
        """Answer one clip: a file with picture and sound, or a ClipSource of several.

        Raises ClipError where the file cannot be read or holds none of the modalities.
        """
        path = source.path if isinstance(source, ClipSource) else source
        return self.predict_inputs(path, self.prepare(source))

    def predict_inputs(self, path: Path, inputs: ClipInputs) -> Prediction:
        """Answer one clip that is prepared, here or elsewhere; path: to name.

        Raises BundleError where the network's answer is no number.
        """
        probs = self.answer([inputs])[0]
        check_finite(probs, self.bundle, repr(str(path)))
        return describe_clip(path, inputs, probs)

    def predict_windows(
        self,
        path: Path,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
    ) -> RecordingPredictions:
        """Answers to the overlapping windows of a recording of any length, as they are read.

        window_s, hop_s: by default 3 s, or less where the network hears less, and 1 s. parts: say
        also what face and voice say alone. Raises UsageError for other lengths than the network
        takes; iterating raises ClipError where the file cannot be read.
        """
        return WindowPredictions(self, path, window_s, hop_s, parts)

    def warm_up(self) -> None:
        """Run every network once, so that the first answer takes no longer than others."""
        face, audio = self.bundle.spec.face, self.bundle.spec.audio
        n = max(1, min(face.max_frames, round(audio.duration_s * face.frame_rate_hz)))
        nothing = ClipInputs(
            face=np.zeros((n, *face.shape), np.uint8),
            face_found=np.ones(n, bool),
            times_s=np.zeros(n, np.float32),
            boxes=np.zeros((n, 4), np.float32),
            mfcc=np.zeros(audio.shape, np.float32),
            duration_s=0.0,
            frames_examined=n,
        )
        self.answer([nothing])
        if warm_up := getattr(self.detector, "warm_up", None):
            warm_up()

    def answer(self, clips: Sequence[ClipInputs], batch: int = 8) -> np.ndarray:
        """Probabilities float32 (n_clips, 7) of prepared clips."""
        bundle = self.bundle
        return predict_clips(self.run, clips, bundle.inputs, bundle.frames, bundle.spec, batch)
