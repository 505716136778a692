"""Options of the commands about a corpus: evaluate, preprocess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keras_emo.cli.options import CORPUS_HELP, EXIT_CODES, Commands, Shared, count


def add_evaluate(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo evaluate."""
    evaluate = commands.add_parser(
        "evaluate",
        parents=[shared.bundle, shared.threads],
        help="score on a corpus",
        epilog=EXIT_CODES,
    )
    evaluate.add_argument("--data", type=Path, required=True, help="corpus folder")
    evaluate.add_argument("--corpus", default="auto", help=CORPUS_HELP)
    evaluate.add_argument("--json", type=Path, help="write all figures and answers here")
    evaluate.add_argument(
        "--folds",
        type=Path,
        metavar="FOLDER",
        help="in place of --bundle: a folder with a bundle for each fold, each scored on its own "
        "test speakers, with one set of figures over all",
    )
    evaluate.add_argument(
        "--speakers",
        help="only these, as 1,11,20,2, or 'test': the bundle's "
        "own test speakers (default: everybody in the folder)",
    )
    evaluate.add_argument("--skip-bad", action="store_true", help="go on without bad files")
    evaluate.set_defaults(run=run)


def add_preprocess(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo preprocess."""
    preprocess = commands.add_parser(
        "preprocess",
        parents=[shared.engine],
        help="prepare a corpus for train.py",
        description="Decode every clip of a corpus, find its faces and compute its MFCC: the "
        "cache from which train.py goes on without a clip to prepare. Needs no TensorFlow.",
        epilog=EXIT_CODES,
    )
    preprocess.add_argument("--data", required=True, help="corpus folder, or 'builtin'")
    preprocess.add_argument("--corpus", default="auto", help=CORPUS_HELP)
    preprocess.add_argument(
        "--cache", type=Path, default=Path("cache"), help="prepared clips go here (default: cache)"
    )
    seen = preprocess.add_mutually_exclusive_group()
    seen.add_argument("--config", type=Path, help="TOML file that train.py will be given")
    seen.add_argument(
        "--bundle", type=Path, help="prepare as for this bundle, where there is no configuration"
    )
    preprocess.add_argument("--skip-bad", action="store_true", help="go on without bad files")
    preprocess.add_argument(
        "--workers", type=count, default=0, help="processes (default: one a core)"
    )
    preprocess.add_argument("--shards", type=Path, help="pack prepared clips there, see train.py")
    preprocess.add_argument(
        "--drop-prepared",
        action="store_true",
        help="with --shards: delete files that are packed",
    )
    preprocess.set_defaults(run=run)
