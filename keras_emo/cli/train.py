"""keras-emo train: networks trained on a labeled corpus, as train.py does."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_emo.cli.options import HOW_TO_SCALE, add_options, names, positive_count, whole_number
from keras_emo.cli.run import require
from keras_emo.data.splits import RAVDESS_FOLDS
from keras_emo.demo_corpus import SPEAKER_NOTE, BuiltinSpec
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.io import digest_file, digest_text
from keras_emo.media.reader import check_file
from keras_emo.progress import Progress
from keras_emo.training.config import PRECISIONS, PRETRAIN, read_config
from keras_emo.training.data import open_corpus
from keras_emo.training.interrupt import run_until_stopped
from keras_emo.training.workers import Workers, train_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of keras-emo train; a TOML file can hold those that describe a run."""
    parser.description = (
        "Train face and voice networks, then their fusions, on an emotion corpus. "
        "Training is resumable: run the same command again."
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, help="corpus folder, or 'builtin'")
    add_options(data, "--corpus", "--cache", "--skip-bad")
    data.add_argument(
        "--jobs", type=int, default=0, help="processes that prepare clips (default: one a core)"
    )
    data.add_argument(
        "--builtin-speakers",
        type=whole_number(1, 24),
        default=BuiltinSpec.n_speakers,
        help="size of the built-in corpus (default: %(default)s)",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True, help="run folder")
    run.add_argument("--config", type=Path, help="TOML file, see configs/")
    run.add_argument("--preset", choices=("compact", "faithful"))
    run.add_argument("--seed", type=int)
    run.add_argument("--test", type=names, help="test speakers, as 1,11,20,2")
    folds = range(len(RAVDESS_FOLDS))
    run.add_argument("--fold", type=int, choices=folds, help="RAVDESS fold, instead of --test")
    run.add_argument(
        "--folds", type=_numbers, metavar="0,1,2,3,4", help="one run a RAVDESS fold, and a table"
    )
    run.add_argument("--seeds", type=_numbers, metavar="0,1,2", help="one run a seed, averaged")
    checked = run.add_mutually_exclusive_group()
    checked.add_argument(
        "--val",
        type=lambda text: 0 if text.strip() == "none" else names(text),
        help="validation speakers, as 3,8; none: all remaining speakers are used for training and "
        "the last epoch is kept",
    )
    checked.add_argument("--n-val", type=int, help="number of validation speakers (default: 2)")
    run.add_argument("--stages", type=names, help="as visual_alexnet,audio_cnn (default: all)")
    run.add_argument("--epochs", type=int, help="at most this many in every stage asked for")
    flag: dict[str, Any] = {"action": "store_true", "default": None}
    run.add_argument("--deterministic", **flag, help="bit-equal repeats on one machine, slower")
    run.add_argument("--init-from", type=Path, help="weights that the face network starts from")
    run.add_argument(
        "--pretrain-data", type=Path, help="class-named folders of faces; adds the pretrain stage"
    )
    place = parser.add_argument_group("where and how fast")
    place.add_argument(
        "--distribute",
        choices=("none", "mirrored"),
        default="none",
        help="mirrored: train on all GPUs of this machine",
    )
    place.add_argument(
        "--workers",
        type=positive_count,
        metavar="N",
        help="train on N workers of a Ray cluster; --out and --cache are on shared storage",
    )
    place.add_argument(
        "--address", help="the Ray cluster, as HOST:PORT (default: RAY_ADDRESS, or this machine)"
    )
    place.add_argument(
        "--mixed-precision",
        nargs="?",
        choices=PRECISIONS,
        const=PRECISIONS[0],
        help="train in bfloat16, or float16 for GPUs before 2020; what is saved is float32",
    )
    place.add_argument("--xla", **flag, help="compile the training step with XLA")


def run(options: argparse.Namespace) -> int:
    """Train the networks that the options name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return run_until_stopped(lambda: _train(options), options.out)


def _train(options: argparse.Namespace) -> int:
    require("keras", "tensorflow", "librosa", "matplotlib")
    workers = _read_workers(options)
    config = read_config(options.config, _changes(options))
    if options.pretrain_data is not None and PRETRAIN not in config.stages:
        stages = (PRETRAIN, *config.stages)  # read again: --epochs holds for it too
        config = read_config(options.config, {**_changes(options), "stages": stages})
    several = options.folds is not None or options.seeds is not None
    if several and options.fold is not None:
        raise UsageError("--fold", Reason.BAD_CONFIG, "not together with --folds or --seeds")
    start = _digest_start(options.init_from, options.pretrain_data)
    data, cache = options.data, options.cache
    if workers is not None:  # they run in folders of their own
        data, cache = data if data == "builtin" else str(Path(data).resolve()), cache.resolve()
    builtin = BuiltinSpec(options.builtin_speakers)
    corpus = open_corpus(data, options.corpus, cache, options.skip_bad, options.jobs, builtin)
    with Progress("train.py") as progress:
        progress.say("loading TensorFlow")  # takes seconds: once the corpus is known to be good
        from keras_emo.training.distributed import mirror_devices
        from keras_emo.training.folds import Recipe, plan_runs, pretrain_once, train_runs
        from keras_emo.training.run import summarize
        from keras_emo.training.table import write_table

        replicas = mirror_devices() if options.distribute == "mirrored" else None
    recipe = Recipe(config, corpus, cache, options.jobs, start, replicas, workers)
    if not several:
        opened = recipe.open(options.out, config, options.fold)
        train_run(opened, workers, options.init_from, options.pretrain_data)
        if corpus.name == "builtin":
            print(SPEAKER_NOTE)
        print(summarize(options.out), end="")
        return ExitCode.OK
    plans = plan_runs(options.out, options.seeds or (config.seed,), options.folds)
    config = replace(config, stages=tuple(s for s in config.stages if s != PRETRAIN))
    recipe, init_from = replace(recipe, config=config), options.init_from
    if options.pretrain_data is not None:
        init_from = pretrain_once(options.out, recipe, options.pretrain_data)
    train_runs(plans, recipe, init_from)
    print(write_table(options.out, plans, config.stages, corpus.samples), end="")
    return ExitCode.OK


def _read_workers(options: argparse.Namespace) -> Workers | None:
    """The workers that train; None for this process."""
    if options.workers is None:
        if options.address is not None:
            raise UsageError("--address", Reason.BAD_CONFIG, "only together with --workers")
        return None
    require("ray", how=HOW_TO_SCALE)
    for name, given in (("--distribute", options.distribute != "none"), ("--xla", options.xla)):
        if given:
            raise UsageError(name, Reason.BAD_CONFIG, "not together with --workers")
    return Workers(options.workers, options.address)


def _digest_start(init_from: Path | None, pretrain_data: Path | None) -> dict[str, str]:
    """Digests of what the face network starts from, so that a run is not resumed from another."""
    start: dict[str, str] = {}
    if init_from is not None:
        start["init_from"] = digest_file(check_file(init_from))[:16]
    if pretrain_data is not None:
        files = sorted(p for p in pretrain_data.rglob("*") if p.is_file())
        names = [f"{p.relative_to(pretrain_data)} {p.stat().st_size}" for p in files]
        start["pretrain_data"] = digest_text("\n".join(names))[:16]
    return start


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    keys = "preset", "seed", "test", "stages", "epochs", "deterministic", "mixed_precision", "xla"
    changes = {key: getattr(options, key) for key in keys}
    return changes | {"val": options.val if options.n_val is None else options.n_val}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
