"""One clip to its rows, by the functions that keras-emo predict calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from keras_emo import __version__
from keras_emo.data.digests import digest_source
from keras_emo.errors import BundleError, ClipError, EnvironmentFailure, Reason
from keras_emo.inference.bundle import DESCRIPTION, digest_file
from keras_emo.inference.model import Model
from keras_emo.inference.predict import TimelineBuilder, WindowStream, check_predicted
from keras_emo.inference.results import Prediction, WindowPrediction
from keras_emo.media.reader import ClipSource
from keras_emo.scale.schema import Row, make_table

DIED = "its worker died each time, perhaps for want of memory, or in the decoder"


@dataclass(frozen=True)
class ClipAnswer:
    """All that is said about one clip.

    table: its rows; at least one. error: why it failed, as the last row says too. degraded:
    something of it was missing.
    """

    table: pa.Table
    error: ClipError | None
    degraded: bool


@dataclass(frozen=True)
class Maker:
    """Who answers: sha256 of bundle.json, and the version of keras_emo."""

    bundle: str
    version: str = __version__


class ClipAnswerer:
    """Callable: a path to its ClipAnswer. It may be pickled; a predictor is opened on first use.

    windows: lengths of window and hop in s, or None for whole clips. Raises BundleError and
    EnvironmentFailure where it would answer with another bundle or version than maker's.
    """

    def __init__(
        self,
        open_predictor: Callable[[], AbstractContextManager[Model]],
        maker: Maker,
        windows: tuple[float, float] | None = None,
    ):
        self.open_predictor, self.maker, self.windows = open_predictor, maker, windows
        self._stack = ExitStack()
        self._predictor: Model | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__}
        return {k: v for k, v in state.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # the rest is opened anew

    def __call__(self, path: Path) -> ClipAnswer:
        if self._predictor is None:
            self._predictor = self._open()
        common = self._describe_file(path)
        rows: list[Row] = []
        error: ClipError | None = None
        degraded = False
        try:
            if self.windows is None:
                prediction = self._predictor.predict(path)
                rows.append(describe_clip(prediction))
                degraded = prediction.degraded
            else:
                degraded = answer_windows(self._predictor, path, self.windows, rows)
        except ClipError as e:
            error = e
            rows.append(describe_failure(e))
        return ClipAnswer(make_table([{**common, **r} for r in rows]), error, degraded)

    def give_up(self, path: Path) -> ClipAnswer:
        """The answer for a clip that ends every worker that takes it up."""
        error = ClipError(path, Reason.WORKER_DIED, DIED)
        row = {**self._describe_file(path), **describe_failure(error)}
        return ClipAnswer(make_table([row]), error, False)

    def close(self) -> None:
        """End the predictor, if one was opened."""
        self._stack.close()

    def _open(self) -> Model:
        predictor = self._stack.enter_context(self.open_predictor())
        if self.maker.version != __version__:
            cause = f"a worker has version {__version__}, asked is {self.maker.version}"
            raise EnvironmentFailure("keras_emo", Reason.BAD_CONFIG, cause)
        path = predictor.bundle.folder / DESCRIPTION
        if digest_file(path) != self.maker.bundle:
            raise BundleError(path, Reason.BAD_BUNDLE, "another one than when the work began")
        return predictor

    def _describe_file(self, path: Path) -> Row:
        row: Row = {
            "path": show_text(str(path)),
            "bundle": self.maker.bundle,
            "version": self.maker.version,
        }
        try:
            row["clip_digest"] = digest_source(ClipSource(video=path))
            row["size_bytes"] = path.stat().st_size
        except (ClipError, OSError):
            pass  # null; what is wrong with the file is for its reader to say
        return row


def answer_windows(
    model: Model, path: Path, lengths_s: tuple[float, float], rows: list[Row]
) -> bool:
    """Append a row a window, also those before a failure; whether something was missing.

    Raises ClipError as predict --timeline reports it.
    """
    stream = model.stream(path, *lengths_s)
    builder, first = TimelineBuilder(stream, model.bundle), len(rows)
    try:
        for window in stream:
            builder.add(window)
            rows.append({**describe_window(window), "window": len(rows) - first})
    finally:
        for row in rows[first:]:  # of the whole recording, so known once it is read
            row |= describe_recording(stream)
    timeline = builder.build()
    check_predicted(timeline)
    return timeline.degraded


def describe_clip(p: Prediction) -> Row:
    """The row of a whole clip."""
    return {
        "window": 0,
        "start_s": 0.0,
        "end_s": p.duration_s,
        "label": p.label,
        **p.probs,
        "modalities": p.modalities,
        "states": [str(s) for s in p.states],
        "warnings": p.warnings,
        "frames_with_face": p.faces.with_face,
        "frames_examined": p.faces.examined,
        "duration_s": p.duration_s,
        "damaged_packets": p.damage.packets,
        "missing_s": p.damage.missing_s,
    }


def describe_window(answer: WindowPrediction) -> Row:
    """The row of a window, but for its number and what is of the whole recording."""
    row: Row = {
        "start_s": answer.start_s,
        "end_s": answer.end_s,
        "label": answer.label,
        "modalities": answer.modalities,
        "states": [str(s) for s in answer.states],
    }
    row |= answer.probs or {}
    if answer.face is not None:
        row["face_id"] = answer.face.id
        row |= dict(zip(("x_px", "y_px", "width_px", "height_px"), answer.face.box, strict=True))
    return row


def describe_recording(stream: WindowStream) -> Row:
    """What all rows of a recording share."""
    return {
        "warnings": stream.warnings,
        "duration_s": stream.duration_s,
        "damaged_packets": stream.damage.packets,
        "missing_s": stream.damage.missing_s,
    }


def describe_failure(error: ClipError) -> Row:
    """What the row of a clip that failed has beyond the file's own."""
    return {"reason": str(error.reason), "cause": show_text(error.cause)}


def show_text(text: str) -> str:
    """Text that may name a file; bytes that are no text as the other formats write them."""
    return text.encode(errors="backslashreplace").decode()
