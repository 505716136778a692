"""keras-emo predict --timeline: long recordings, window by window."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keras_emo.cli.predict import exit_code_for, find_clips, open_predictor
from keras_emo.errors import ClipError, ClipTimeout, Reason, UsageError
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.gathered import GatheredWindows
from keras_emo.inference.model import Predictor
from keras_emo.inference.predict import RecordingPredictions, WindowPrediction, choose_lengths
from keras_emo.inference.segments import Segment, find_edges
from keras_emo.output import open_output
from keras_emo.progress import Progress
from keras_emo.render.formats import WritesTimelines, find_timeline_format
from keras_emo.render.overlay import Annotations, FaceTrail
from keras_emo.render.thumbnails import FaceSheet


def run_timeline(options: argparse.Namespace) -> int:
    """Answer every window of every recording; one that fails is reported and the rest go on."""
    _check_pictures(options)
    open_writer = find_timeline_format(options.format)
    answered, late, degraded = 0, 0, False
    with open_output(options.out) as stream, open_predictor(options) as predictor:
        choose_lengths(predictor.bundle, options.window_s, options.hop_s)
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer = open_writer(stream)
        try:
            for path in clips:
                try:
                    degraded |= _answer(options, predictor, path, writer)
                except ClipError as e:
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    late += isinstance(e, ClipTimeout)
                    continue
                answered += 1
        finally:
            writer.finish()
    return exit_code_for(answered, failed, degraded, late)


def _check_pictures(options: argparse.Namespace) -> None:
    """Raise UsageError where a picture is asked for of other than one file, or would replace it."""
    for name in ("annotate", "plot", "report"):
        target: Path | None = getattr(options, name)
        if target is None:
            continue
        if len(options.clips) != 1 or options.clips[0].is_dir():
            raise UsageError(f"--{name}", Reason.BAD_CONFIG, "goes with one file, not several")
        if target.exists() and _is_same(target, options.clips[0]):
            raise UsageError(target, Reason.BAD_CONFIG, "the clip must not be written over")
    if options.annotate is not None and options.sandbox:
        cause = "does not go with --sandbox: it reads the recording without one"
        raise UsageError("--annotate", Reason.BAD_CONFIG, cause)
    if options.annotate is not None and options.annotate.suffix.lower() != ".mp4":
        raise UsageError(options.annotate, Reason.BAD_CONFIG, "an annotated video is an .mp4")


def _is_same(target: Path, clip: Path) -> bool:
    return clip.exists() and os.path.samefile(target, clip)


def _answer(
    options: argparse.Namespace, predictor: Predictor, path: Path, writer: WritesTimelines
) -> bool:
    """Write one recording's timeline; whether something of it was missing. Raises ClipError."""
    answers = predictor.predict_windows(path, options.window_s, options.hop_s)
    found, faces = GatheredWindows(), FaceSheet()
    trail = FaceTrail(answers.window_s, answers.hop_s)
    answer: WindowPrediction | None = next(answers)  # a file that cannot be read fails here
    writer.begin(path, answers.window_s, answers.hop_s)
    with Progress(path.name, "s") as progress:
        try:
            while answer is not None:
                found.add(answer)
                writer.add(answer)
                if options.annotate is not None:
                    trail.add(answer)
                if options.report is not None:
                    faces.add(answer)
                progress(answer.end_s, answers.media.declared_s)
                answer = next(answers, None)
                if options.out is None:
                    progress.clear()  # the next line may go to the same terminal
        finally:
            progress.clear()
            segments = found.segments(answers)
            writer.end(answers, segments)
    _warn(path, answers, found)
    if options.plot is not None:
        _plot(options.plot, path, answers, found, segments)
    if options.report is not None:
        _report(options.report, path, answers, found, segments, faces, predictor.bundle)
    if options.annotate is not None:
        _annotate(options.annotate, path, answers, found, segments, trail, predictor.threads)
    found.check(path)
    return found.is_degraded(answers)


def _plot(
    target: Path, path: Path, answers: RecordingPredictions, found: GatheredWindows,
    segments: list[Segment],
) -> None:  # fmt: skip
    from keras_emo.render.plot import write_plot

    write_plot(
        target, path.name, found.probs, segments, answers.window_s, answers.hop_s,
        found.end_s(answers),
    )  # fmt: skip


def _report(
    target: Path, path: Path, answers: RecordingPredictions, found: GatheredWindows,
    segments: list[Segment], faces: FaceSheet, bundle: Bundle,
) -> None:  # fmt: skip
    from keras_emo.render.report import Recording, write_report

    recording = Recording(
        path.name, found.probs, segments, answers.window_s, answers.hop_s,
        found.end_s(answers), found.states, answers.warnings, faces.pick(),
    )  # fmt: skip
    write_report(target, recording, bundle)


def _annotate(
    target: Path, path: Path, answers: RecordingPredictions, found: GatheredWindows,
    segments: list[Segment], trail: FaceTrail, threads: int,
) -> None:  # fmt: skip
    from keras_emo.render.annotate import write_annotated

    end_s = found.end_s(answers)
    edges_s = find_edges(len(found), answers.window_s, answers.hop_s, end_s)
    notes = Annotations(found.probs, edges_s, segments, trail)
    with Progress(path.name, "s") as progress:
        progress.say("drawing the annotated video")
        write_annotated(path, target, notes, threads)


def _warn(path: Path, answers: RecordingPredictions, found: GatheredWindows) -> None:
    counts = [f"{state} in {n} of {len(found)} windows" for state, n in found.states.items()]
    for text in (*counts, *answers.warnings):
        print(f"warning: {str(path)!r}: {text}", file=sys.stderr)
