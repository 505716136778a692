"""A bundle as a model: paths in, predictions out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from keras_emo.errors import BundleError, ClipError, EmoError, Reason
from keras_emo.features.clip import ClipInputs, prepare_clip
from keras_emo.features.mtcnn import FaceDetector
from keras_emo.features.tracking import Detector
from keras_emo.inference.batch import Batch, can_predict, collate_clips, predict_clips
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.predict import (
    WindowStream,
    choose_lengths,
    make_prediction,
    predict_inputs,
    read_timeline,
    read_windows,
)
from keras_emo.inference.results import Prediction, Timeline
from keras_emo.inference.session import CPU, as_bundle_error, available_cores, open_session
from keras_emo.media.arrays import ArrayClip
from keras_emo.media.reader import IMAGE_SUFFIXES, ClipSource

if TYPE_CHECKING:
    from keras_emo.sandbox.sandbox import Sandbox

PathLike = str | os.PathLike[str]
Source = PathLike | ClipSource


def to_path(path: PathLike) -> Path:
    """A Path. Raises TypeError."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected a path (str or os.PathLike), got {type(path).__name__}")
    return Path(path)


def to_clip(
    source: Source | ArrayClip | None,
    frames: Sequence[np.ndarray] | np.ndarray | None = None,
    fps: float | None = None,
    audio: np.ndarray | None = None,
    sample_rate: int | None = None,
) -> ClipSource | ArrayClip:
    """The arguments of Model.predict as a clip; a picture is one frame without sound.

    Raises TypeError or ValueError.
    """
    arrays = (frames, fps, audio, sample_rate)
    if source is None:
        return ArrayClip(*arrays)
    if any(value is not None for value in arrays):
        raise TypeError("a clip is a path or arrays, not both")
    if isinstance(source, ClipSource | ArrayClip):
        return source
    path = to_path(source)
    is_picture = path.suffix.lower() in IMAGE_SUFFIXES
    return ClipSource(frames=(path,)) if is_picture else ClipSource(video=path)


class Model:
    """A pretrained network, ready to predict; keras_emo.load() makes one.

    bundle: what was loaded. threads: of the network and of decoding; 0: one a core this process
    may use. providers: of onnxruntime for the network, the preferred first. detector: finds the
    faces instead of the bundle's networks. reader: reads recordings instead of this process. A
    context manager; not to be shared between threads while it predicts. Raises BundleError where
    the bundle is refused.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 0,
        providers: Sequence[str] = (CPU,),
        detector: Detector | None = None,
        reader: Sandbox | None = None,
    ):
        self.bundle = bundle
        self.threads = threads = threads or available_cores()
        self.session = open_session(bundle.model_path, threads, providers=providers)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self._check_names()
        if detector is None:
            detector = FaceDetector(bundle.detector_folder, bundle.spec.face)
        self.detector: Detector = detector
        self._reader = reader

    def _check_names(self) -> None:
        inputs = [i.name for i in self.session.get_inputs()]
        for what, described, found in (
            ("inputs", self.bundle.inputs, inputs),
            ("outputs", self.bundle.outputs, self.outputs),
        ):
            if sorted(described) != sorted(found):
                cause = f"its {what} are {found}, bundle.json has {list(described)}"
                raise BundleError(self.bundle.model_path, Reason.BAD_BUNDLE, cause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox, if there is one."""
        if self._reader is not None:
            self._reader.close()

    def __repr__(self) -> str:
        return f"Model({str(self.bundle.folder)!r}, from {' and '.join(self.bundle.modalities)})"

    def predict(
        self,
        source: Source | None = None,
        *,
        frames: Sequence[np.ndarray] | np.ndarray | None = None,
        fps: float | None = None,
        audio: np.ndarray | None = None,
        sample_rate: int | None = None,
        parts: bool = False,
    ) -> Prediction:
        """Predict the emotion of one clip.

        source: a file with picture, sound or both (str or os.PathLike), a PNG or JPEG picture, or
        a ClipSource of several files. Or arrays in its place: frames, RGB uint8 (n, height,
        width, 3) at fps, and audio, float in [-1, 1] or int16, (n,) or (n, channels) at
        sample_rate. parts: also from face and voice alone. Raises ClipError where the clip cannot
        be read or has no usable modality, BundleError for a prediction that is not a number,
        TypeError and ValueError for other arguments.
        """
        clip = to_clip(source, frames, fps, audio, sample_rate)
        inputs = self.prepare(clip)
        probs = predict_inputs(self, inputs, parts, repr(str(clip.path)))
        return make_prediction(None if source is None else clip.path, inputs, probs)

    def embed(self, source: Source | None = None, **arrays: Any) -> np.ndarray:
        """The network's embedding of one clip, float32 (n,).

        source, arrays: as in predict.
        """
        bundle, inputs = self.bundle, self.prepare(to_clip(source, **arrays))
        feed = collate_clips([inputs], bundle.inputs, bundle.manifest.frames, bundle.spec)
        outputs = self.run(feed)
        if "embedding" not in outputs:
            raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, "it has no output 'embedding'")
        # of a network that takes single crops, each is a row
        mean: np.ndarray = outputs["embedding"].mean(axis=0)
        return mean

    def predict_batch(
        self, sources: Iterable[Source], *, parts: bool = False
    ) -> list[Prediction | EmoError]:
        """Predict many clips, in order. A clip that fails has its EmoError in its place."""
        if isinstance(sources, str | os.PathLike | ClipSource):
            raise TypeError(f"expected several clips, got one {type(sources).__name__}")
        results: list[Prediction | EmoError] = []
        for source in sources:
            try:
                results.append(self.predict(source, parts=parts))
            except EmoError as e:
                results.append(e)
        return results

    def stream(
        self,
        path: PathLike,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
    ) -> WindowStream:
        """Predict the overlapping windows of a recording of any length, as they are read.

        Constant memory. window_s, hop_s: by default 3 s, or less where the network takes less,
        and 1 s. parts: also from face and voice alone. Raises UsageError for lengths out of
        range; iterating raises ClipError where the file cannot be read.
        """
        path = to_path(path)
        window_s, hop_s = choose_lengths(self.bundle, window_s, hop_s)
        if self._reader is not None:
            return self._reader.windows(path, window_s, hop_s, parts)
        return WindowStream(path, window_s, hop_s, read_windows(self, path, window_s, hop_s, parts))

    def timeline(
        self,
        path: PathLike,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
    ) -> Timeline:
        """Predict a recording of any length: its windows, and segments of one label each.

        Arguments as in stream. Raises ClipError also where no window has a prediction.
        """
        return read_timeline(self.stream(path, window_s, hop_s, parts), self.bundle)

    def prepare(self, source: Source | ArrayClip) -> ClipInputs:
        """What the network gets of a clip. Raises ClipError where that is too little."""
        clip, bundle = to_clip(source), self.bundle
        if self._reader is not None and isinstance(clip, ClipSource):
            return self._reader.prepare(clip)
        inputs = prepare_clip(clip, bundle.spec, self.detector, bundle.modalities, self.threads)
        if not can_predict(inputs, bundle.inputs):
            needed = " and ".join(bundle.modalities)
            reason = inputs.states[0] if inputs.states else Reason.NO_MODALITY
            raise ClipError(clip.path, reason, f"the network needs {needed}")
        return inputs

    def compute_probs(self, clips: Sequence[ClipInputs]) -> np.ndarray:
        """Probabilities float32 (n_clips, 7) of prepared clips."""
        bundle = self.bundle
        return predict_clips(self.run, clips, bundle.inputs, bundle.manifest.frames, bundle.spec)

    def run(self, feed: Batch) -> dict[str, np.ndarray]:
        """The network on arrays, float32, as bundle.json describes them.

        Raises BundleError where the network takes no such arrays.
        """
        with as_bundle_error(self.bundle.model_path):
            values = self.session.run(None, feed)
        return dict(zip(self.outputs, values, strict=True))

    def warm_up(self) -> None:
        """Run every network once, so that the first prediction takes no longer than others."""
        face, audio = self.bundle.spec.face, self.bundle.spec.audio
        n = max(1, min(face.max_frames, round(audio.duration_s * face.frame_rate_hz)))
        nothing = ClipInputs(
            np.zeros((n, *face.shape), np.uint8), np.ones(n, bool), np.zeros(n), np.zeros((n, 4)),
            np.zeros(audio.shape, np.float32), duration_s=0.0, frames_examined=n,
        )  # fmt: skip
        self.compute_probs([nothing])
        if warm_up := getattr(self.detector, "warm_up", None):
            warm_up()
