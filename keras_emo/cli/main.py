"""The ``keras-emo`` command, with onnxruntime alone: its subcommands.

Their options and their work are in keras_emo.cli; the work is imported only once it is asked
for: a package that is missing is then one line, and the first answer comes sooner.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from keras_emo import __version__
from keras_emo.cli.answer_options import add_live, add_predict, add_serve
from keras_emo.cli.bundle_options import add_inspect, add_verify
from keras_emo.cli.corpus_options import add_evaluate, add_preprocess
from keras_emo.cli.options import DEFAULT_BUNDLE, EXIT_CODES, build_shared, check_without
from keras_emo.cli.run import exit_on_sigterm, require, run_command
from keras_emo.errors import Reason, UsageError

PACKAGES = ("numpy", "cv2", "onnxruntime", "av", "soxr")
SERVE_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "fastapi_offline")
HOW_TO_SCALE = "pip install -r requirements-scale.txt"


def build_parser() -> argparse.ArgumentParser:
    """Options of keras-emo."""
    parser = argparse.ArgumentParser(
        prog="keras-emo",
        description="Say which of seven emotions face and voice of a speaker express.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"keras_emo {__version__}")
    commands, shared = parser.add_subparsers(dest="command", required=True), build_shared()
    add_predict(commands, shared, _predict)
    add_live(commands, shared, _live)
    add_evaluate(commands, shared, _evaluate)
    add_preprocess(commands, shared, _preprocess)
    add_verify(commands, _verify)
    add_inspect(commands, _inspect)
    add_serve(commands, shared, _serve)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run keras-emo; returns the exit code."""
    options = build_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be of any bytes
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    require(*PACKAGES)
    return options.run(options)


def _predict(options: argparse.Namespace) -> int:
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

        return exit_on_sigterm(lambda: run_timeline(options))
    from keras_emo.cli.predict import run_predict

    return exit_on_sigterm(lambda: run_predict(options))


def _predict_in_bulk(options: argparse.Namespace) -> int:
    if options.format != "parquet" or options.out is None:
        asked = "--engine ray" if options.engine == "ray" else "--format parquet"
        needed = "--out FOLDER" if options.format == "parquet" else "--format parquet --out FOLDER"
        raise UsageError(asked, Reason.BAD_CONFIG, f"goes with {needed}")
    check_without(options, "other formats than parquet", "annotate", "plot", "report")
    require("pyarrow", how=HOW_TO_SCALE)
    _check_engine(options)
    from keras_emo.cli.bulk import run_bulk

    return exit_on_sigterm(lambda: run_bulk(options))


def _check_engine(options: argparse.Namespace) -> None:
    """Raise an EmoError where the engine is lacking, or options of another are given."""
    if options.engine == "ray":
        require("ray", "pyarrow", how=HOW_TO_SCALE)
    elif options.command == "predict":
        check_without(options, "--engine ray", "address", "workers")
    else:
        check_without(options, "--engine ray", "address")


def _live(options: argparse.Namespace) -> int:
    from keras_emo.cli.live import run_live

    return run_live(options)


def _evaluate(options: argparse.Namespace) -> int:
    if options.folds is not None and options.speakers is not None:
        raise UsageError("--speakers", Reason.BAD_CONFIG, "not together with --folds")
    if options.folds is not None and options.bundle is not DEFAULT_BUNDLE:
        raise UsageError("--bundle", Reason.BAD_CONFIG, "not together with --folds")
    from keras_emo.cli.evaluate import run_evaluate

    return run_evaluate(options)


def _preprocess(options: argparse.Namespace) -> int:
    if options.drop_prepared and options.shards is None:
        raise UsageError("--drop-prepared", Reason.BAD_CONFIG, "goes with --shards")
    _check_engine(options)
    from keras_emo.cli.preprocess import run_preprocess

    return exit_on_sigterm(lambda: run_preprocess(options))


def _verify(options: argparse.Namespace) -> int:
    from keras_emo.cli.verify import run_verify

    return run_verify(options)


def _inspect(options: argparse.Namespace) -> int:
    from keras_emo.cli.inspect import run_inspect

    return run_inspect(options)


def _serve(options: argparse.Namespace) -> int:
    require(*SERVE_PACKAGES, how="pip install -r requirements-serve.txt")
    from keras_emo.cli.serve import run_serve

    return run_serve(options)


if __name__ == "__main__":
    sys.exit(main())
