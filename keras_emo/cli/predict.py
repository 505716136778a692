"""keras-emo predict: a prediction for every clip, or for every window of long recordings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from keras_emo import load
from keras_emo.cli.options import (
    HOW_TO_SCALE,
    add_bundle,
    add_engine,
    add_threads,
    add_windows,
    check_engine,
    check_without,
    megabytes,
    positive_count,
    seconds,
)
from keras_emo.cli.run import require
from keras_emo.errors import ClipError, ClipTimeout, ExitCode, Reason, UsageError
from keras_emo.inference.model import Model
from keras_emo.inference.session import available_cores
from keras_emo.output import open_output
from keras_emo.progress import Progress
from keras_emo.render.formats import find_prediction_format


def add_arguments(predict: argparse.ArgumentParser) -> None:
    """Options of keras-emo predict."""
    predict.add_argument(
        "clips", nargs="+", type=Path, metavar="CLIP", help="video or audio files, or folders"
    )
    add_bundle(predict)
    add_threads(predict)
    output = predict.add_argument_group("output")
    output.add_argument(
        "--format",
        default="text",
        help="csv, json, text, parquet or a registered format (default: %(default)s)",
    )
    output.add_argument(
        "--out",
        type=Path,
        help="write to this file instead of stdout; with --format parquet to this folder",
    )
    timeline = predict.add_argument_group("long recordings")
    timeline.add_argument(
        "--timeline",
        action="store_true",
        help="predict overlapping windows of recordings of any length, and join them to segments",
    )
    add_windows(timeline)
    timeline.add_argument(
        "--annotate",
        type=Path,
        metavar="MP4",
        help="with --timeline and one file: write a copy with face, label and probabilities "
        "drawn in",
    )
    timeline.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="with --timeline and one file: write a chart of the probabilities over time",
    )
    timeline.add_argument(
        "--report",
        type=Path,
        metavar="HTML",
        help="with --timeline and one file: write a page with chart, segments, faces and facts "
        "about the network",
    )
    sandbox = predict.add_argument_group("untrusted files")
    sandbox.add_argument(
        "--sandbox",
        action="store_true",
        help="decode in a process with limited rights and resources",
    )
    sandbox.add_argument(
        "--timeout-s",
        type=seconds,
        help="with --sandbox: limit for a clip, or for a window of a timeline (default: 60)",
    )
    sandbox.add_argument(
        "--memory-mb",
        type=megabytes,
        help="with --sandbox: memory beyond what the process needs to start (default: 2048)",
    )
    bulk = predict.add_argument_group("many clips")
    add_engine(bulk)
    bulk.add_argument(
        "--workers",
        type=positive_count,
        help="with --engine ray: processes, with --threads threads each, by default 1 "
        "(default: as many as there are cores for)",
    )
    bulk.add_argument(
        "--shard-clips",
        type=positive_count,
        metavar="N",
        help="with --format parquet: clips per file, which a restart may have to repeat "
        "(default: 256, with --timeline 16)",
    )


def run(options: argparse.Namespace) -> int:
    """Predict every clip; one that fails is reported and the rest go on."""
    if not options.sandbox:
        check_without(options, "--sandbox", "timeout_s", "memory_mb")
    if not options.timeline:
        check_without(options, "--timeline", "annotate", "plot", "report", "window_s", "hop_s")
    if options.format == "parquet" or options.engine == "ray":
        return _predict_in_bulk(options)
    check_without(options, "--engine ray", "address", "workers")
    check_without(options, "--format parquet", "shard_clips")
    if options.timeline:
        from keras_emo.cli.timeline import run_timeline

        return run_timeline(options)
    return run_predict(options)


def _predict_in_bulk(options: argparse.Namespace) -> int:
    if options.format != "parquet" or options.out is None:
        asked = "--engine ray" if options.engine == "ray" else "--format parquet"
        needed = "--out FOLDER" if options.format == "parquet" else "--format parquet --out FOLDER"
        raise UsageError(asked, Reason.BAD_CONFIG, f"goes with {needed}")
    check_without(options, "other formats than parquet", "annotate", "plot", "report")
    require("pyarrow", how=HOW_TO_SCALE)
    check_engine(options, "workers")
    from keras_emo.cli.bulk import run_bulk

    return run_bulk(options)


def run_predict(options: argparse.Namespace) -> int:
    """Answer every clip; one that fails is reported and the rest go on."""
    answered, late, degraded = 0, 0, False
    open_writer = find_prediction_format(options.format)
    with open_output(options.out) as stream, open_model(options) as model:
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer, progress = open_writer(stream), Progress("answered", "clips")
        try:
            for i, path in enumerate(clips):
                progress(i, len(clips))
                try:
                    prediction = model.predict(path)
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


def open_model(options: argparse.Namespace) -> Model:
    """The bundle's model, with --sandbox one that reads in a sandbox; to be closed."""
    if not options.sandbox:
        return load(options.bundle, threads=options.threads)
    from keras_emo.sandbox.limits import Limits  # here: the first prediction comes sooner

    limits = Limits()
    if options.timeout_s is not None:
        cpu_s = max(limits.cpu_s, options.timeout_s * available_cores())
        limits = replace(limits, wall_s=options.timeout_s, cpu_s=cpu_s)
    if options.memory_mb is not None:
        limits = replace(limits, memory_bytes=options.memory_mb << 20)
    return load(options.bundle, threads=options.threads, sandbox=limits)


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
