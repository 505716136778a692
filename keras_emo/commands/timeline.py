"""keras-emo predict --timeline: long recordings, window by window."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from keras_emo.commands.predict import find_clips, tell_code
from keras_emo.core.errors import ClipError, Reason, UsageError
from keras_emo.runtime.bundle import load_bundle
from keras_emo.runtime.output import open_output
from keras_emo.runtime.overlay import Annotations, FaceTrail
from keras_emo.runtime.predictor import Predictor
from keras_emo.runtime.timeline import Segment, find_edges, find_segments, stack_probs
from keras_emo.runtime.windows import WindowAnswers, choose_lengths
from keras_emo.runtime.writers import TimelineWriter, format_time


def run_timeline(options: argparse.Namespace) -> int:
    """Answer every window of every recording; one that fails is reported and the rest go on."""
    _check_pictures(options)
    answered, degraded = 0, False
    with open_output(options.out) as stream:
        predictor = Predictor(load_bundle(options.bundle), options.threads)
        choose_lengths(predictor.bundle, options.window_s, options.hop_s)
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer = TimelineWriter(stream, options.format)
        try:
            for path in clips:
                try:
                    degraded |= _answer(options, predictor, path, writer)
                except ClipError as e:
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    continue
                answered += 1
        finally:
            writer.finish()
    return tell_code(answered, failed, degraded)


def _check_pictures(options: argparse.Namespace) -> None:
    """Raise UsageError where a picture is asked for of other than one file, or would replace it."""
    for name in ("annotate", "plot"):
        target: Path | None = getattr(options, name)
        if target is None:
            continue
        if len(options.clips) != 1 or options.clips[0].is_dir():
            raise UsageError(f"--{name}", Reason.BAD_CONFIG, "goes with one file, not several")
        if target.exists() and _is_same(target, options.clips[0]):
            raise UsageError(target, Reason.BAD_CONFIG, "the clip must not be written over")
    if options.annotate is not None and options.annotate.suffix.lower() != ".mp4":
        raise UsageError(options.annotate, Reason.BAD_CONFIG, "an annotated video is an .mp4")


def _is_same(target: Path, clip: Path) -> bool:
    return clip.exists() and os.path.samefile(target, clip)


def _answer(
    options: argparse.Namespace, predictor: Predictor, path: Path, writer: TimelineWriter
) -> bool:
    """Write one recording's timeline; whether something of it was missing. Raises ClipError."""
    answers = predictor.predict_windows(path, options.window_s, options.hop_s)
    trail = FaceTrail(answers.window_s, answers.hop_s)
    rows: list[np.ndarray | None] = []
    states: dict[str, int] = {}
    segments: list[Segment] = []
    first = next(answers)  # a file that cannot be read fails here, with nothing written
    writer.begin(path, answers.window_s, answers.hop_s)
    answer = first
    try:
        while True:
            rows.append(answer.probs)
            writer.add(answer)
            if options.annotate is not None:
                trail.add(answer)
            for state in answer.states:
                states[state] = states.get(state, 0) + 1
            _show_progress(answer.end_s)
            following = next(answers, None)
            if following is None:
                break
            answer = following
    finally:
        probs = stack_probs(rows)
        end_s = max(answers.duration_s, answer.end_s)
        segments = find_segments(probs, answers.window_s, answers.hop_s, end_s)
        writer.end(answers, segments)
    _warn(path, answers, states, len(rows))
    if options.plot is not None:
        from keras_emo.runtime.plot import write_plot

        write_plot(options.plot, path.name, probs, segments, answers.window_s, answers.hop_s, end_s)
    if options.annotate is not None:
        from keras_emo.runtime.annotate import write_annotated

        edges_s = find_edges(len(probs), answers.window_s, answers.hop_s, end_s)
        notes = Annotations(probs, edges_s, segments, trail)
        write_annotated(path, options.annotate, notes, predictor.threads)
    if np.isnan(probs).all():
        said = " and ".join(states) or "nothing to answer"
        raise ClipError(path, Reason.NO_MODALITY, f"no window could be answered: {said}")
    damaged = bool(answers.media.damaged_packets or answers.media.missing_s)
    return bool(states) or damaged


def _warn(path: Path, answers: WindowAnswers, states: dict[str, int], n_windows: int) -> None:
    counts = [f"{state} in {n} of {n_windows} windows" for state, n in states.items()]
    for text in (*counts, *answers.warnings):
        print(f"warning: {str(path)!r}: {text}", file=sys.stderr)


def _show_progress(time_s: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{format_time(time_s)}\r", end="", file=sys.stderr, flush=True)
