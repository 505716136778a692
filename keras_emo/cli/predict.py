"""keras-emo predict: a prediction for every clip, or for every window of long recordings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_emo import load
from keras_emo.cli.options import (
    HOW_TO_SCALE,
    add_options,
    check_engine,
    check_without,
    positive_count,
    seconds,
)
from keras_emo.cli.run import require
from keras_emo.errors import ClipError, ClipTimeout, ExitCode, Reason, UsageError
from keras_emo.io import open_output
from keras_emo.progress import Progress

if TYPE_CHECKING:
    from keras_emo import Model
    from keras_emo.render.writers import WritesPredictions, WritesTimelines
    from keras_emo.sandbox.limits import Limits


def add_arguments(predict: argparse.ArgumentParser) -> None:
    """Options of keras-emo predict."""
    predict.add_argument(
        "clips", nargs="+", type=Path, metavar="CLIP", help="video or audio files, or folders"
    )
    add_options(predict, "--bundle", "--threads", "--provider")
    output = predict.add_argument_group("output")
    output.add_argument(
        "--format",
        default="text",
        help="csv, json, text, parquet or a registered format (default: %(default)s)",
    )
    target = "file to write instead of stdout; with --format parquet a folder"
    output.add_argument("--out", type=Path, help=target)
    timeline = predict.add_argument_group("long recordings")
    windows = "predict overlapping windows of recordings of any length, and join them to segments"
    timeline.add_argument("--timeline", action="store_true", help=windows)
    add_options(timeline, "--window-s", "--hop-s")
    for name, kind, what in (
        ("--annotate", "MP4", "a copy with face, label and probabilities drawn in"),
        ("--plot", "PNG", "a chart of the probabilities over time"),
        ("--report", "HTML", "a page with chart, segments, faces and facts about the network"),
    ):
        how = f"with --timeline and one file: write {what}"
        timeline.add_argument(name, type=Path, metavar=kind, help=how)
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
        type=positive_count,
        help="with --sandbox: memory beyond what the process needs to start (default: 2048)",
    )
    bulk = predict.add_argument_group("many clips")
    add_options(bulk, "--engine", "--address")
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
        help="with --format parquet: clips per file (default: 256, with --timeline 16)",
    )


def run(options: argparse.Namespace) -> int:
    """Predict every clip; one that fails is reported and the rest go on."""
    _check_options(options)
    if options.format == "parquet":
        return _predict_into_folder(options)
    from keras_emo.render.writers import find_format

    make_writer = find_format(options.format, options.timeline)
    predicted, late, degraded = 0, 0, False
    with (
        open_output(options.out) as stream,
        open_model(options) as model,
        Progress("predicted", "clips") as progress,
    ):
        clips, failed = find_clips(options.clips)
        writer = make_writer(stream)
        try:
            for i, path in enumerate(clips):
                try:
                    if options.timeline:
                        degraded |= _predict_timeline(options, model, path, writer)
                    else:
                        progress(i, len(clips))
                        degraded |= _predict_clip(progress, model, path, writer)
                except ClipError as e:
                    progress.clear()
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    late += isinstance(e, ClipTimeout)
                    continue
                predicted += 1
        finally:
            progress.clear()
            writer.finish()  # what is complete is delivered, whatever stopped the rest
    return exit_code_for(predicted, failed, degraded, late)


def _check_options(options: argparse.Namespace) -> None:
    """Raise UsageError for options that have no meaning together."""
    if not options.sandbox:
        check_without(options, "--sandbox", "timeout_s", "memory_mb")
    if not options.timeline:
        check_without(options, "--timeline", "annotate", "plot", "report", "window_s", "hop_s")
    if options.format == "parquet" and options.out is not None:
        check_without(options, "other formats than parquet", "annotate", "plot", "report")
        require("pyarrow", how=HOW_TO_SCALE)
    elif options.format == "parquet":
        raise UsageError("--format parquet", Reason.BAD_CONFIG, "goes with --out FOLDER")
    elif options.engine == "ray":
        cause = "goes with --format parquet --out FOLDER"
        raise UsageError("--engine ray", Reason.BAD_CONFIG, cause)
    else:
        check_without(options, "--format parquet", "shard_clips")
    check_engine(options, "workers")
    for name in ("annotate", "plot", "report"):
        target: Path | None = getattr(options, name)
        if target is None:
            continue
        clip = options.clips[0]
        if len(options.clips) != 1 or clip.is_dir():
            raise UsageError(f"--{name}", Reason.BAD_CONFIG, "goes with one file, not several")
        if target.exists() and clip.exists() and target.samefile(clip):
            raise UsageError(target, Reason.BAD_CONFIG, "the clip must not be written over")
    if options.annotate is not None and options.sandbox:
        cause = "does not go with --sandbox: it reads the recording without one"
        raise UsageError("--annotate", Reason.BAD_CONFIG, cause)
    if options.annotate is not None and options.annotate.suffix.lower() != ".mp4":
        raise UsageError(options.annotate, Reason.BAD_CONFIG, "an annotated video is an .mp4")


def open_model(options: argparse.Namespace) -> Model:
    """The bundle's model, with --sandbox one that reads in a sandbox."""
    sandbox: bool | Limits = options.sandbox
    if sandbox:
        from keras_emo.inference.session import available_cores
        from keras_emo.sandbox.limits import Limits

        sandbox = Limits()
        if options.timeout_s is not None:
            cpu_s = max(sandbox.cpu_s, options.timeout_s * available_cores())
            sandbox = replace(sandbox, wall_s=options.timeout_s, cpu_s=cpu_s)
        if options.memory_mb is not None:
            sandbox = replace(sandbox, memory_bytes=options.memory_mb << 20)
    return load(
        options.bundle, threads=options.threads, providers=options.providers, sandbox=sandbox
    )


def _predict_clip(progress: Progress, model: Model, path: Path, writer: WritesPredictions) -> bool:
    """Write one clip's prediction; whether something of it was missing. Raises ClipError."""
    prediction = model.predict(path)
    progress.clear()
    used = " and ".join(prediction.modalities)
    states = [f"{state}: predicted from {used}" for state in prediction.states]
    _warn(path, (*states, *prediction.warnings))
    writer.add(prediction)
    return prediction.degraded


def _predict_timeline(
    options: argparse.Namespace, model: Model, path: Path, writer: WritesTimelines
) -> bool:
    """Write one recording's timeline; whether something of it was missing. Raises ClipError."""
    from keras_emo.inference.predict import TimelineBuilder, check_predicted
    from keras_emo.render.annotate import FaceTrail, write_annotated
    from keras_emo.render.report import write_report

    stream = model.stream(path, options.window_s, options.hop_s)
    builder, trail = TimelineBuilder(stream, model.bundle), FaceTrail(stream.window_s, stream.hop_s)
    first = next(stream)  # a file that cannot be read fails here
    with Progress(path.name, "s") as progress:
        try:
            for window in chain([first], stream):
                if options.out is None:
                    progress.clear()  # the next line may go to the same terminal
                builder.add(window)
                trail.add(window)
                writer.add(str(path), window)
                progress(window.end_s, stream.state.declared_s)
        finally:
            progress.clear()
            timeline = builder.build()
            writer.end(timeline)
        n = len(timeline.windows)
        states = [f"{state} in {count} of {n} windows" for state, count in timeline.states.items()]
        _warn(path, (*states, *timeline.warnings))
        if options.plot is not None:
            timeline.plot(options.plot)
        if options.report is not None:
            write_report(options.report, timeline)
        if options.annotate is not None:
            progress.say("drawing the annotated video")
            write_annotated(path, options.annotate, timeline, trail, model.threads)
    check_predicted(timeline)
    return timeline.degraded


def _predict_into_folder(options: argparse.Namespace) -> int:
    """Predict the clips that the folder options.out lacks, in this process or on Ray."""
    from keras_emo.inference.bundle import DESCRIPTION, load_bundle
    from keras_emo.inference.predict import choose_lengths
    from keras_emo.io import digest_file
    from keras_emo.scale.bulk import ClipPredictor, Job, Outcome, predict_into
    from keras_emo.scale.cluster import ray_map

    bundle = load_bundle(options.bundle)
    lengths_s: tuple[float | None, float | None] = (None, None)
    if options.timeline:
        lengths_s = choose_lengths(bundle, options.window_s, options.hop_s)
    digest = digest_file(bundle.folder / DESCRIPTION)
    job = Job(digest, *lengths_s, options.sandbox, options.timeout_s, options.memory_mb)
    clips, refused = find_clips(options.clips)
    on_ray = options.engine == "ray"
    folder = bundle.folder.absolute()  # Ray's workers run in another folder
    threads = options.threads or int(on_ray)
    settings = argparse.Namespace(**(vars(options) | {"bundle": folder, "threads": threads}))
    predictor = ClipPredictor(partial(open_model, settings), job)
    run: Callable[..., Any] = predictor.predict_all
    if on_ray:
        run = partial(
            ray_map,
            predictor,
            workers=options.workers or 0,
            threads=threads,
            address=options.address,
            on_death=predictor.report_death,
        )
    counts = predict_into(options.out, job, clips, run, options.shard_clips)
    degraded, late = counts[Outcome.DEGRADED], counts[Outcome.TIMED_OUT]
    if degraded:
        columns = "see the columns states, damaged_packets and missing_s"
        print(f"warning: {degraded} clips predicted in part, {columns}", file=sys.stderr)
    failed = counts[Outcome.FAILED] + late + refused
    return exit_code_for(counts[Outcome.PREDICTED] + degraded, failed, degraded > 0, late)


def _warn(path: Path, warnings: Iterable[str]) -> None:
    for text in warnings:
        print(f"warning: {str(path)!r}: {text}", file=sys.stderr)


def exit_code_for(predicted: int, failed: int, degraded: bool, late: int) -> int:
    """The exit code after so many clips, late of the failed ones; prints how many failed."""
    if failed:
        print(f"{predicted} predicted, {failed} rejected", file=sys.stderr)
        if predicted:
            return ExitCode.PARTIAL
        return ExitCode.TIMEOUT if late == failed else ExitCode.REJECTED
    return ExitCode.PARTIAL if degraded else ExitCode.OK


def find_clips(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """Files as given and the recordings below folders; how many files there are refused.

    Prints why they are. Raises UsageError for a folder without either.
    """
    clips: list[Path] = []
    n_refused = 0
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        # here: a single clip is predicted sooner
        from keras_emo.data.corpus import find_recordings

        found, unread = find_recordings(path)
        refused = [ClipError(p.path, p.reason, p.cause) for p in unread]
        for item in found:
            if item.kind == "other":
                cause = f"{item.path.suffix} is not read; convert it to .mp4 or .wav"
                refused.append(ClipError(item.path, Reason.FORMAT_NOT_ALLOWED, cause))
        recordings = [f.path for f in found if f.kind in ("video", "audio")]
        if not (recordings or refused):
            raise UsageError(path, Reason.NO_CLIPS, "no video or sound files in this folder")
        clips += recordings
        n_refused += len(refused)
        for problem in refused:
            print(f"error: {problem}", file=sys.stderr)
    return clips, n_refused
