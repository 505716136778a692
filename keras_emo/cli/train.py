"""keras-emo train: networks trained on a labeled corpus, as train.py does."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_emo.cli.run import require, run_command
from keras_emo.data.splits import RAVDESS_FOLDS
from keras_emo.demo_corpus import SPEAKER_NOTE, BuiltinSpec
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.media.reader import check_file
from keras_emo.progress import Progress
from keras_emo.training.config import PRECISIONS, PRETRAIN, read_config
from keras_emo.training.data import open_corpus, prepare, split_corpus
from keras_emo.training.interrupt import run_until_stopped
from keras_emo.training.team import KINDS, Team, gather_team


def build_parser() -> argparse.ArgumentParser:
    """Options of train.py."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train face and voice networks, then their fusions, on an emotion corpus. "
        "Training is resumable: run the same command again.",
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of keras-emo train; a TOML file can hold those that describe a run."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, help="corpus folder, or 'builtin'")
    data.add_argument("--corpus", default="auto", help="ravdess, savee or one that is added")
    data.add_argument("--cache", type=Path, default=Path("cache"), help="prepared clips go here")
    data.add_argument("--skip-bad", action="store_true", help="go on without files that are bad")
    data.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    data.add_argument("--builtin-speakers", type=int, help="size of the built-in corpus")
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True, help="run folder")
    run.add_argument("--config", type=Path, help="TOML file, see configs/")
    run.add_argument("--preset", choices=("compact", "faithful"))
    run.add_argument("--seed", type=int)
    run.add_argument("--test", type=_names, help="test speakers, as 1,11,20,2")
    run.add_argument(
        "--fold",
        type=int,
        choices=range(len(RAVDESS_FOLDS)),
        help="test speakers of a RAVDESS fold, instead of --test",
    )
    run.add_argument(
        "--folds",
        type=_numbers,
        metavar="0,1,2,3,4",
        help="one run a RAVDESS fold, below --out, and a table over them",
    )
    run.add_argument("--seeds", type=_numbers, metavar="0,1,2", help="one run a seed, averaged")
    checked = run.add_mutually_exclusive_group()
    checked.add_argument(
        "--val",
        type=_validation,
        help="validation speakers, as 3,8; none: nobody, so that everybody else learns and a "
        "network stays as its last epoch left it",
    )
    checked.add_argument(
        "--n-val", type=int, help="how many validation speakers are drawn (default: 2)"
    )
    run.add_argument("--stages", type=_names, help="as visual_alexnet,audio_cnn (default: all)")
    run.add_argument("--epochs", type=int, help="at most this many in every stage asked for")
    run.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="bit-equal repeats on one machine, slower",
    )
    run.add_argument("--init-from", type=Path, help="weights the visual net starts from")
    run.add_argument(
        "--pretrain-data", type=Path, help="class-named folders of faces; adds the pretrain stage"
    )
    place = parser.add_argument_group("where and how fast")
    place.add_argument(
        "--distribute",
        choices=KINDS,
        default=KINDS[0],
        help="all GPUs of this machine, or all workers of TF_CONFIG; --out is on shared storage",
    )
    place.add_argument(
        "--mixed-precision",
        nargs="?",
        choices=PRECISIONS,
        const=PRECISIONS[0],
        help="train in bfloat16, or float16 for GPUs before 2020; what is saved is float32",
    )
    place.add_argument(
        "--xla", action="store_true", default=None, help="compile the training step with XLA"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run train.py; returns the exit code."""
    options = build_parser().parse_args(arguments)
    return run_command(run, options)


def run(options: argparse.Namespace) -> int:
    """Train what the options say."""
    # of a worker that is gone TensorFlow has much to say; one line is enough
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if options.distribute != "none" else "2")
    return run_until_stopped(lambda: _train_together(options), options.out)


def _train_together(options: argparse.Namespace) -> int:
    require("keras", "tensorflow", "librosa", "matplotlib")
    with gather_team(options.distribute) as team, team.one_output():
        return _train(options, team)


def _train(options: argparse.Namespace, team: Team) -> int:
    config = read_config(options.config, _changes(options))
    if options.pretrain_data is not None and PRETRAIN not in config.stages:
        stages = (PRETRAIN, *config.stages)  # read anew: other settings may bear on every stage
        config = read_config(options.config, {**_changes(options), "stages": stages})
    start = _digest_start(options.init_from, options.pretrain_data)
    corpus = team.run_coordinator_first(
        lambda: open_corpus(
            options.data,
            options.corpus,
            options.cache,
            options.skip_bad,
            options.workers,
            _size_builtin(options.builtin_speakers),
        )
    )
    if options.folds is not None or options.seeds is not None:
        return _train_several(options, config, corpus, start, team)
    split = split_corpus(corpus, config, options.fold)
    prepared = team.run_coordinator_first(
        lambda: prepare(corpus, split, config.clip, options.cache, options.workers)
    )
    # TensorFlow takes seconds to load: only once the data is known to be good
    with Progress("train.py") as progress:
        progress.say("loading TensorFlow")
        from keras_emo.training.distributed import open_crew
        from keras_emo.training.run import open_run
        from keras_emo.training.stages import train_stages
        from keras_emo.training.summary import format_summary

        crew = open_crew(options.distribute, team)
    run = open_run(options.out, config, prepared, start, crew)
    rows = train_stages(run, options.init_from, options.pretrain_data)
    if corpus.name == "builtin":
        print(SPEAKER_NOTE)
    print(format_summary(rows), end="")
    return ExitCode.OK


def _train_several(options, config, corpus, start, team) -> int:
    if options.fold is not None:
        raise UsageError("--fold", Reason.BAD_CONFIG, "not together with --folds or --seeds")
    from keras_emo.training.distributed import open_crew
    from keras_emo.training.folds import plan_runs, pretrain_once, train_runs
    from keras_emo.training.table import write_table

    crew = open_crew(options.distribute, team)
    plans = plan_runs(options.out, options.seeds or (config.seed,), options.folds)
    config = replace(config, stages=tuple(s for s in config.stages if s != PRETRAIN))
    init_from = options.init_from
    if options.pretrain_data is not None:
        init_from = pretrain_once(
            options.out, config, corpus, options.cache, options.pretrain_data, options.workers,
            start, crew,
        )  # fmt: skip
    train_runs(plans, config, corpus, options.cache, options.workers, init_from, start, crew)
    table = team.run_on_coordinator(
        lambda: write_table(options.out, plans, config.stages, corpus.samples)
    )
    print(table, end="")
    return ExitCode.OK


def _size_builtin(n_speakers: int | None) -> BuiltinSpec:
    try:
        return BuiltinSpec() if n_speakers is None else BuiltinSpec(n_speakers=n_speakers)
    except ValueError as e:
        raise UsageError("--builtin-speakers", Reason.BAD_CONFIG, str(e)) from None


def _digest_start(init_from: Path | None, pretrain_data: Path | None) -> dict[str, str]:
    """What the face network begins with, so that a run does not go on from something else."""
    start: dict[str, str] = {}
    if init_from is not None:
        content = check_file(init_from).read_bytes()
        start["init_from"] = hashlib.sha256(content).hexdigest()[:16]
    if pretrain_data is not None:
        files = sorted(p for p in pretrain_data.rglob("*") if p.is_file())
        names = [f"{p.relative_to(pretrain_data)} {p.stat().st_size}" for p in files]
        start["pretrain_data"] = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return start


def _changes(options: argparse.Namespace) -> dict:
    return {
        "preset": options.preset,
        "seed": options.seed,
        "test": options.test,
        "val": options.val if options.n_val is None else options.n_val,
        "stages": options.stages,
        "epochs": options.epochs,
        "deterministic": options.deterministic,
        "mixed_precision": options.mixed_precision,
        "xla": options.xla,
    }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _validation(text: str) -> tuple[str, ...] | int:
    return 0 if text.strip() == "none" else _names(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
