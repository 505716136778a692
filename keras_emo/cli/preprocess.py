"""keras-emo preprocess: a corpus prepared for train.py, on this machine or on Ray."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from keras_emo.cli.options import add_options, check_engine, count
from keras_emo.data.cache import Run, build_cache
from keras_emo.data.corpus import Sample
from keras_emo.data.workers import Job, run_jobs
from keras_emo.errors import ClipError, ExitCode, Reason
from keras_emo.inference.bundle import load_bundle
from keras_emo.progress import Progress
from keras_emo.training.config import read_config
from keras_emo.training.data import open_corpus


def add_arguments(preprocess: argparse.ArgumentParser) -> None:
    """Options of keras-emo preprocess."""
    add_options(preprocess, "--engine", "--address", "--corpus", "--cache", "--skip-bad")
    preprocess.add_argument("--data", required=True, help="corpus folder, or 'builtin'")
    spec = preprocess.add_mutually_exclusive_group()
    spec.add_argument("--config", type=Path, help="TOML file that train.py will use")
    spec.add_argument("--bundle", type=Path, help="prepare for this bundle, without a TOML file")
    preprocess.add_argument(
        "--workers", type=count, default=0, help="processes (default: one per core)"
    )


def run(options: argparse.Namespace) -> int:
    """Prepare every clip of a corpus; one that fails is reported and the rest go on."""
    check_engine(options)
    if options.bundle is not None:
        spec = load_bundle(options.bundle).spec
    else:
        spec = read_config(options.config).clip
    cache = Path(os.path.abspath(options.cache))  # Ray's workers may be in another folder
    corpus = open_corpus(options.data, options.corpus, cache, options.skip_bad, options.workers)
    samples, run_all = corpus.samples, _choose_run(options)
    with Progress("prepared clips", "clips", lines=True) as progress:
        report = build_cache(samples, spec, cache, options.workers, progress, run_all)
    for failure in report.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{len(report.files)} of {len(samples)} clips prepared, {report.computed} of them now")
    if not report.files:
        return ExitCode.REJECTED
    return ExitCode.PARTIAL if report.failures or corpus.problems else ExitCode.OK


def _choose_run(options: argparse.Namespace) -> Run:
    """Who prepares: processes of this machine, or Ray."""
    if options.engine == "local":
        return run_jobs
    from keras_emo.scale.cluster import DIED, ray_map

    def report_death(job: Job) -> ClipError:
        sample: Sample = job[1]
        return ClipError(sample.source.path, Reason.WORKER_DIED, DIED)

    def run(
        function: Callable[..., Any], jobs: Sequence[Job], _workers: int
    ) -> Generator[tuple[Job, Any], None, None]:
        def call(job: Job) -> Any:
            return function(*job)

        return ray_map(call, jobs, options.workers, 1, options.address, report_death)

    return run
