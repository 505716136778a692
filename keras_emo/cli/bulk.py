"""keras-emo predict --format parquet: many clips, in shards, on this machine or on Ray."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from keras_emo.cli.predict import exit_code_for, find_clips, open_model
from keras_emo.data.workers import run_jobs
from keras_emo.inference.bundle import DESCRIPTION, Bundle, digest_file, load_bundle
from keras_emo.inference.predict import choose_lengths
from keras_emo.scale.answers import ClipAnswerer, Maker
from keras_emo.scale.bulk import Run, answer_rest
from keras_emo.scale.plan import make_plan
from keras_emo.scale.store import open_store


def run_bulk(options: argparse.Namespace) -> int:
    """Answer every clip into a folder of Parquet files; a folder that is half done is finished."""
    bundle = load_bundle(options.bundle)
    windows = None
    if options.timeline:
        windows = choose_lengths(bundle, options.window_s, options.hop_s)
    clips, problems = find_clips(options.clips)
    maker = Maker(digest_file(bundle.folder / DESCRIPTION))
    limits = {k: getattr(options, k) for k in ("sandbox", "timeout_s", "memory_mb")}
    plan = make_plan(clips, maker, windows, options.shard_clips, limits)
    with open_store(options.out, plan) as store:
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        answerer = ClipAnswerer(partial(open_model, _fix_paths(options, bundle)), maker, windows)
        with closing(answerer):
            counts = answer_rest(store, store.find_finished(), _choose_run(options, answerer))
    if counts.degraded:
        print(f"warning: {counts.degraded} clips answered in part, see the columns states, "
              "damaged_packets and missing_s", file=sys.stderr)  # fmt: skip
    failed = counts.failed + len(problems)
    return exit_code_for(counts.answered, failed, bool(counts.degraded), counts.late)


def _fix_paths(options: argparse.Namespace, bundle: Bundle) -> argparse.Namespace:
    """The options that open a predictor, for processes that run in another folder."""
    return argparse.Namespace(
        bundle=Path(os.path.abspath(bundle.folder)),
        threads=options.threads or int(options.engine == "ray"),
        providers=options.providers,
        sandbox=options.sandbox,
        timeout_s=options.timeout_s,
        memory_mb=options.memory_mb,
    )


def _choose_run(options: argparse.Namespace, answerer: ClipAnswerer) -> Run:
    """Who answers: this process, or Ray."""
    if options.engine == "local":
        return lambda jobs: run_jobs(answerer, jobs, 1)
    from keras_emo.scale.work import run_on_ray

    workers, threads = options.workers or 0, options.threads or 1
    return lambda jobs: run_on_ray(
        options.address, workers, threads, answerer, jobs, answerer.give_up
    )
