"""keras-emo predict: an answer for every clip."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from keras_emo.errors import ClipError, ClipTimeout, ExitCode, Reason, UsageError
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.model import Predictor
from keras_emo.inference.session import available_cores
from keras_emo.output import open_output
from keras_emo.progress import Progress
from keras_emo.render.formats import find_prediction_format


def run_predict(options: argparse.Namespace) -> int:
    """Answer every clip; one that fails is reported and the rest go on."""
    answered, late, degraded = 0, 0, False
    open_writer = find_prediction_format(options.format)
    with open_output(options.out) as stream, open_predictor(options) as predictor:
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer, progress = open_writer(stream), Progress("answered", "clips")
        try:
            for i, path in enumerate(clips):
                progress(i, len(clips))
                try:
                    prediction = predictor.predict(path)
                except ClipError as e:
                    progress.clear()
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    late += isinstance(e, ClipTimeout)
                    continue
                progress.clear()
                used = " and ".join(prediction.modalities)
                states = [f"{state}: answered from {used}" for state in prediction.states]
                for text in (*states, *prediction.warnings):
                    print(f"warning: {str(path)!r}: {text}", file=sys.stderr)
                writer.add(prediction)
                answered += 1
                degraded |= prediction.degraded
        finally:
            progress.clear()
            writer.finish()  # what is done is delivered, whatever stopped the rest
    return exit_code_for(answered, failed, degraded, late)


@contextmanager
def open_predictor(options: argparse.Namespace) -> Iterator[Predictor]:
    """The bundle's predictor; with --sandbox one whose sandbox ends with the work."""
    bundle = load_bundle(options.bundle)
    if not options.sandbox:
        yield Predictor(bundle, options.threads)
        return
    # here: without a sandbox the first answer comes sooner
    from keras_emo.sandbox.limits import Limits
    from keras_emo.sandbox.predictor import SandboxedPredictor

    limits = Limits()
    if options.timeout_s is not None:
        cpu_s = max(limits.cpu_s, options.timeout_s * available_cores())
        limits = replace(limits, wall_s=options.timeout_s, cpu_s=cpu_s)
    if options.memory_mb is not None:
        limits = replace(limits, memory_bytes=options.memory_mb << 20)
    with SandboxedPredictor(bundle, options.threads, limits) as predictor:
        yield predictor


def exit_code_for(answered: int, failed: int, degraded: bool, late: int) -> int:
    """The exit code after so many clips, late of the failed ones; failures are summed up."""
    if failed:
        print(f"{answered} answered, {failed} rejected", file=sys.stderr)
        if answered:
            return ExitCode.PARTIAL
        return ExitCode.TIMEOUT if late == failed else ExitCode.REJECTED
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
        from keras_emo.data.recordings import walk  # here: a single clip is answered sooner

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
