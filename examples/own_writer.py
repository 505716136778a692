"""A writer of one's own: the segments of a recording as SubRip subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from keras_emo.inference.predict import WindowStream
from keras_emo.inference.results import Segment, WindowPrediction
from keras_emo.render.formats import register_format


class SubtitleWriter:
    """A numbered subtitle a segment, on a stream; segments without an answer are left out."""

    def __init__(self, stream: TextIO):
        self.stream, self.n_written = stream, 0

    def begin(self, path: Path, window_s: float, hop_s: float) -> None:
        """The windows of another recording come."""

    def add(self, answer: WindowPrediction) -> None:
        """Take the next window."""

    def end(self, stream: WindowStream, segments: Sequence[Segment]) -> None:
        """The recording is done."""
        for s in (s for s in segments if s.label is not None):
            self.n_written += 1
            stamps = f"{format_stamp(s.start_s)} --> {format_stamp(s.end_s)}"
            self.stream.write(f"{self.n_written}\n{stamps}\n{s.label} {s.confidence:.2f}\n\n")

    def finish(self) -> None:
        """No further recording comes."""


def format_stamp(time_s: float) -> str:
    """hh:mm:ss,mmm"""
    seconds, ms = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"


register_format("srt", timeline=SubtitleWriter)
