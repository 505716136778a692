"""The options of train.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_emo.core.errors import EmoError, ExitCode


def build_parser() -> argparse.ArgumentParser:
    """Options of train.py; what a run is made of can also stand in a TOML file."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train face and voice networks, then their fusions, on an emotion corpus. "
        "The same command again goes on where it was stopped.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, help="corpus folder, or 'builtin'")
    data.add_argument("--corpus", default="auto", choices=("auto", "ravdess", "savee"))
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
    run.add_argument("--val", type=_names, help="validation speakers (default: two are drawn)")
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run train.py; returns the exit code."""
    options = build_parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        print(_train(options), end="")
    except EmoError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return ExitCode.OK


def _train(options: argparse.Namespace) -> str:
    from keras_emo.data.builtin import SPEAKER_NOTE, BuiltinSpec
    from keras_emo.data.splits import make_split
    from keras_emo.training.config import read_config
    from keras_emo.training.data import open_corpus, prepare

    config = read_config(options.config, _changes(options))
    size = options.builtin_speakers
    builtin = BuiltinSpec() if size is None else BuiltinSpec(n_speakers=size)
    corpus = open_corpus(
        options.data, options.corpus, options.cache, options.skip_bad, options.workers, builtin
    )
    split = make_split(corpus.takes, config.test, config.val, config.seed)
    prepared = prepare(corpus, split, config.clip, options.cache, options.workers)
    # TensorFlow takes seconds to load: only once the data is known to be good
    from keras_emo.training.stages import format_summary, open_run, train_stages

    run = open_run(options.out, config, prepared)
    rows = train_stages(run, options.init_from, options.pretrain_data)
    note = f"{SPEAKER_NOTE}\n" if corpus.name == "builtin" else ""
    return f"{note}{format_summary(rows)}"


def _changes(options: argparse.Namespace) -> dict:
    from keras_emo.training.config import FUSIONS, PARTS, PRETRAIN

    stages = options.stages
    if options.pretrain_data is not None:
        stages = (PRETRAIN, *(stages or (*PARTS, *FUSIONS)))
    return {
        "preset": options.preset,
        "seed": options.seed,
        "test": options.test,
        "val": options.val,
        "stages": stages,
        "epochs": options.epochs,
        "deterministic": options.deterministic,
    }


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
