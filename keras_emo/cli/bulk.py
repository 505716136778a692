"""keras-emo predict --format parquet: many clips, on this machine or on Ray."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path

from keras_emo.cli.predict import exit_code_for, find_clips, open_model
from keras_emo.inference.bundle import DESCRIPTION, load_bundle
from keras_emo.inference.predict import choose_lengths
from keras_emo.io import digest_file
from keras_emo.scale.bulk import (
    CLIPS_PER_FILE,
    RECORDINGS_PER_FILE,
    ClipPredictor,
    Job,
    Outcome,
    Row,
    open_folder,
    predict_rest,
)


def run_bulk(options: argparse.Namespace) -> int:
    """Predict the clips that the folder options.out lacks."""
    bundle = load_bundle(options.bundle)
    windows: tuple[float | None, float | None] = (None, None)
    if options.timeline:
        windows = choose_lengths(bundle, options.window_s, options.hop_s)
    job = Job(
        digest_file(bundle.folder / DESCRIPTION),
        *windows,
        sandbox=options.sandbox,
        timeout_s=options.timeout_s,
        memory_mb=options.memory_mb,
    )
    clips_per_file = RECORDINGS_PER_FILE if options.timeline else CLIPS_PER_FILE
    clips, problems = find_clips(options.clips)
    with open_folder(options.out, job) as folder:
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        counts = predict_rest(
            folder,
            [Path(os.path.abspath(path)) for path in clips],
            partial(_run, options, bundle.folder, job),
            options.shard_clips or clips_per_file,
        )
    degraded, late = counts[Outcome.DEGRADED], counts[Outcome.TIMED_OUT]
    if degraded:
        print(f"warning: {degraded} clips predicted in part, see the columns states, "
              "damaged_packets and missing_s", file=sys.stderr)  # fmt: skip
    failed = counts[Outcome.FAILED] + late + len(problems)
    return exit_code_for(counts[Outcome.PREDICTED] + degraded, failed, degraded > 0, late)


def _run(
    options: argparse.Namespace, bundle: Path, job: Job, clips: list[Path]
) -> Generator[tuple[Path, list[Row]], None, None]:
    """Predict clips in this process, or on Ray."""
    threads = options.threads or int(options.engine == "ray")
    # Ray's workers may run in another folder.
    changed = {"bundle": Path(os.path.abspath(bundle)), "threads": threads}
    settings = argparse.Namespace(**{**vars(options), **changed})
    predictor = ClipPredictor(partial(open_model, settings), job)
    if options.engine == "ray":
        from keras_emo.scale.cluster import ray_map

        workers, on_death = options.workers or 0, predictor.report_death
        yield from ray_map(predictor, clips, workers, threads, options.address, on_death)
        return
    with closing(predictor):
        for path in clips:
            yield path, predictor(path)
