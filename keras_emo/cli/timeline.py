"""keras-emo predict --timeline: long recordings, window by window."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keras_emo.cli.predict import exit_code_for, find_clips, open_model
from keras_emo.errors import ClipError, ClipTimeout, Reason, UsageError
from keras_emo.inference.model import Model
from keras_emo.inference.predict import (
    TimelineBuilder,
    TrackedWindow,
    check_predicted,
    choose_lengths,
)
from keras_emo.inference.results import Timeline
from keras_emo.inference.segments import find_edges, stack_probs
from keras_emo.output import open_output
from keras_emo.progress import Progress
from keras_emo.render.formats import WritesTimelines, find_timeline_format
from keras_emo.render.overlay import Annotations, FaceTrail


def run_timeline(options: argparse.Namespace) -> int:
    """Answer every window of every recording; one that fails is reported and the rest go on."""
    _check_pictures(options)
    open_writer = find_timeline_format(options.format)
    answered, late, degraded = 0, 0, False
    with open_output(options.out) as stream, open_model(options) as model:
        choose_lengths(model.bundle, options.window_s, options.hop_s)
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer = open_writer(stream)
        try:
            for path in clips:
                try:
                    degraded |= _predict(options, model, path, writer)
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


def _predict(
    options: argparse.Namespace, model: Model, path: Path, writer: WritesTimelines
) -> bool:
    """Write one recording's timeline; whether something of it was missing. Raises ClipError."""
    stream = model.stream(path, options.window_s, options.hop_s)
    builder = TimelineBuilder(stream, model.bundle)
    trail = FaceTrail(stream.window_s, stream.hop_s)
    window: TrackedWindow | None = next(stream)  # a file that cannot be read fails here
    writer.begin(path, stream.window_s, stream.hop_s)
    with Progress(path.name, "s") as progress:
        try:
            while window is not None:
                builder.add(window)
                writer.add(window)
                if options.annotate is not None:
                    trail.add(window)
                progress(window.end_s, stream.state.declared_s)
                window = next(stream, None)
                if options.out is None:
                    progress.clear()  # the next line may go to the same terminal
        finally:
            progress.clear()
            timeline = builder.build()
            writer.end(stream, timeline.segments)
    _warn(timeline)
    if options.plot is not None:
        timeline.plot(options.plot)
    if options.report is not None:
        from keras_emo.render.report import write_report

        write_report(options.report, timeline)
    if options.annotate is not None:
        _annotate(options.annotate, timeline, trail, model.threads)
    check_predicted(timeline)
    return timeline.degraded


def _annotate(target: Path, timeline: Timeline, trail: FaceTrail, threads: int) -> None:
    from keras_emo.render.annotate import write_annotated

    path, windows = Path(timeline.path), timeline.windows
    edges_s = find_edges(len(windows), timeline.window_s, timeline.hop_s, timeline.end_s)
    probs = stack_probs([w.probs for w in windows])
    notes = Annotations(probs, edges_s, timeline.segments, trail)
    with Progress(path.name, "s") as progress:
        progress.say("drawing the annotated video")
        write_annotated(path, target, notes, threads)


def _warn(timeline: Timeline) -> None:
    n = len(timeline.windows)
    counts = [f"{state} in {count} of {n} windows" for state, count in timeline.states.items()]
    for text in (*counts, *timeline.warnings):
        print(f"warning: {timeline.path!r}: {text}", file=sys.stderr)
