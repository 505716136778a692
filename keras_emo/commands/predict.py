"""keras-emo predict: an answer for every clip."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from keras_emo.core.errors import ClipError, ExitCode, Reason, UsageError
from keras_emo.runtime.bundle import load_bundle
from keras_emo.runtime.output import open_output
from keras_emo.runtime.predictor import Predictor
from keras_emo.runtime.writers import AnswerWriter


def run_predict(options: argparse.Namespace) -> int:
    """Answer every clip; one that fails is reported and the rest go on."""
    answered, degraded = 0, False
    with open_output(options.out) as stream:
        predictor = Predictor(load_bundle(options.bundle), options.threads)
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer = AnswerWriter(stream, options.format)
        try:
            for path in clips:
                try:
                    prediction = predictor.predict(path)
                except ClipError as e:
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    continue
                used = " and ".join(prediction.modalities)
                states = [f"{state}: answered from {used}" for state in prediction.states]
                for text in (*states, *prediction.warnings):
                    print(f"warning: {str(path)!r}: {text}", file=sys.stderr)
                writer.add(prediction)
                answered += 1
                degraded |= prediction.degraded
        finally:
            writer.finish()  # what is done is delivered, whatever stopped the rest
    return tell_code(answered, failed, degraded)


def tell_code(answered: int, failed: int, degraded: bool) -> int:
    """The exit code after so many clips; failures are summed up on stderr."""
    if failed:
        print(f"{answered} answered, {failed} rejected", file=sys.stderr)
        return ExitCode.PARTIAL if answered else ExitCode.REJECTED
    return ExitCode.PARTIAL if degraded else ExitCode.OK


def find_clips(paths: Iterable[Path]) -> tuple[list[Path], list[ClipError]]:
    """Files as named and the recordings below folders; and what in the folders is not read.

    Raises UsageError for a folder without either.
    """
    clips: list[Path] = []
    problems: list[ClipError] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        from keras_emo.data.corpus import walk  # here: a single clip is answered sooner

        found, unread = walk(path)
        recordings = [f.path for f in found if f.kind in ("video", "audio")]
        refused = [ClipError(p.path, p.reason, p.cause) for p in unread]
        for item in found:
            if item.kind == "other":
                cause = f"{item.path.suffix} is not read; convert it to .mp4 or .wav"
                refused.append(ClipError(item.path, Reason.FORMAT_NOT_ALLOWED, cause))
        if not (recordings or refused):
            raise UsageError(path, Reason.NO_CLIPS, "no video or sound files in this folder")
        clips += recordings
        problems += refused
    return clips, problems
