"""An output format of your own: the segments of a recording as SubRip subtitles."""

from __future__ import annotations

from typing import TextIO

from keras_emo import Timeline, WindowPrediction
from keras_emo.render.writers import register_format


class SubtitleWriter:
    """Writes a numbered subtitle per segment; segments without a prediction are left out."""

    def __init__(self, stream: TextIO):
        self.stream, self.n_written = stream, 0

    def add(self, path: str, window: WindowPrediction) -> None:
        """Called for each window as it is predicted; subtitles need the segments."""

    def end(self, timeline: Timeline) -> None:
        """Called when a recording is complete."""
        for s in (s for s in timeline.segments if s.label is not None):
            self.n_written += 1
            stamps = f"{format_stamp(s.start_s)} --> {format_stamp(s.end_s)}"
            self.stream.write(f"{self.n_written}\n{stamps}\n{s.label} {s.confidence:.2f}\n\n")

    def finish(self) -> None:
        """Called after the last recording."""


def format_stamp(time_s: float) -> str:
    """hh:mm:ss,mmm"""
    seconds, ms = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"


register_format("srt", timelines=SubtitleWriter)
