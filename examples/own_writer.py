"""A writer of one's own: the segments of a recording as SubRip subtitles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from keras_emo.core.command import run_command
from keras_emo.core.errors import ExitCode
from keras_emo.runtime.gathered import GatheredWindows
from keras_emo.runtime.output import open_output
from keras_emo.runtime.predictor import Predictor
from keras_emo.runtime.timeline import Segment


def format_subtitles(segments: Sequence[Segment]) -> str:
    """A numbered subtitle a segment; those without an answer are left out."""
    said = [s for s in segments if s.label is not None]
    return "\n".join(
        f"{i}\n{format_stamp(s.start_s)} --> {format_stamp(s.end_s)}\n{s.label} {s.prob:.2f}\n"
        for i, s in enumerate(said, 1)
    )


def format_stamp(time_s: float) -> str:
    """hh:mm:ss,mmm"""
    seconds, ms = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"


def write_subtitles(clip: Path, target: Path, bundle: Path) -> int:
    """Answer a recording and write its subtitles. Raises EmoError."""
    with open_output(target) as stream:
        answers, found = Predictor(bundle).predict_windows(clip), GatheredWindows()
        for answer in answers:
            found.add(answer)
        found.check(clip)
        stream.write(format_subtitles(found.segments(answers)))
    return ExitCode.OK


if __name__ == "__main__":
    clip, target, bundle = map(Path, sys.argv[1:4])
    sys.exit(run_command(lambda: write_subtitles(clip, target, bundle)))
