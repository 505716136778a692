"""The ``keras-emo`` command, with onnxruntime alone: its options.

What a command does is in keras_emo.commands, imported only once it is asked for: a package that
is missing is then one line, and the first answer comes sooner.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_emo import __version__
from keras_emo.core.command import heed_sigterm, require, run_command
from keras_emo.core.errors import Reason, UsageError

DEFAULT_BUNDLE = Path(os.environ.get("KERAS_EMO_BUNDLE", "saved_models/default"))
PACKAGES = ("numpy", "cv2", "onnxruntime", "av", "soxr")
SERVE_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "fastapi_offline")
FORMATS = ("csv", "json", "text")
CORPORA = ("auto", "ravdess", "savee")
EXIT_CODES = (
    "Exit codes: 0 ok, 2 usage, 3 clip rejected, 4 partial result, 5 bundle refused, "
    "6 environment, 124 timeout, 130 stopped by Ctrl-C, 143 by SIGTERM. An error is one line on "
    "stderr: file: reason: cause."
)


def build_parser() -> argparse.ArgumentParser:
    """Options of keras-emo."""
    parser = argparse.ArgumentParser(
        prog="keras-emo",
        description="Say which of seven emotions face and voice of a speaker express.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"keras_emo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    trusted = argparse.ArgumentParser(add_help=False)
    trusted.add_argument(
        "--signed-by",
        type=Path,
        dest="key",
        metavar="PEM",
        help="refuse the bundle unless it was signed for this public key (see sign)",
    )
    shared = argparse.ArgumentParser(add_help=False, parents=[trusted])
    shared.add_argument(
        "--bundle",
        type=Path,
        default=DEFAULT_BUNDLE,
        help="bundle folder (default: KERAS_EMO_BUNDLE, or saved_models/default)",
    )
    shared.add_argument("--threads", type=_count, default=0, help="default: the cores at hand")
    windows = argparse.ArgumentParser(add_help=False)
    windows.add_argument(
        "--window-s",
        type=_seconds,
        help="length of a window (default: 3, or less where the network hears less)",
    )
    windows.add_argument("--hop-s", type=_seconds, help="from window to window (default: 1)")
    _add_predict(commands, [shared, windows])
    _add_live(commands, [shared, windows])
    _add_evaluate(commands, [shared])
    _add_verify(commands, trusted)
    _add_inspect(commands, trusted)
    _add_sign(commands)
    _add_serve(commands, trusted)
    return parser


def _add_predict(commands, parents: list[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser(
        "predict", parents=parents, help="answer clips", epilog=EXIT_CODES
    )
    predict.add_argument(
        "clips",
        nargs="+",
        type=Path,
        metavar="CLIP",
        help="video or sound files, or folders of them",
    )
    predict.add_argument("--format", choices=FORMATS, default="text")
    predict.add_argument("--out", type=Path, help="write here instead of to stdout")
    predict.add_argument(
        "--timeline",
        action="store_true",
        help="answer overlapping windows of recordings of any length, and their segments",
    )
    predict.add_argument(
        "--annotate", type=Path, metavar="MP4", help="with --timeline, of one file: a copy with "
        "face, label and probabilities drawn in",
    )  # fmt: skip
    predict.add_argument(
        "--plot", type=Path, metavar="PNG", help="with --timeline, of one file: the probabilities "
        "over time as a picture",
    )  # fmt: skip
    predict.add_argument(
        "--report", type=Path, metavar="HTML", help="with --timeline, of one file: a page with "
        "probabilities over time, segments, faces and what the network is",
    )  # fmt: skip
    predict.add_argument(
        "--sandbox",
        action="store_true",
        help="for untrusted files: read them in a process that is limited and can be killed",
    )
    predict.add_argument(
        "--timeout-s", type=_seconds, help="with --sandbox, for a clip, or for a window of a "
        "timeline (default: 60)",
    )  # fmt: skip
    predict.add_argument(
        "--memory-mb", type=_megabytes, help="with --sandbox, beyond what it needs to start "
        "(default: 2048)",
    )  # fmt: skip
    predict.set_defaults(run=_predict)


def _add_live(commands, parents: list[argparse.ArgumentParser]) -> None:
    live = commands.add_parser(
        "live",
        parents=parents,
        help="answer a webcam or a stream as it happens",
        description="Answer a webcam or a stream, a line a hop. Pictures that come while the "
        "machine is busy are dropped. A webcam is answered from the face alone; a file or stream "
        "also from its sound.",
        epilog=EXIT_CODES,
    )
    live.add_argument(
        "source",
        metavar="SOURCE",
        help="number of a webcam, a file, or an address that begins with rtsp:, http: or https:",
    )
    live.add_argument("--format", choices=("json", "text"), default="text", help="of a line")
    live.add_argument("--out", type=Path, help="write here instead of to stdout")
    live.add_argument(
        "--max-s", type=_seconds, default=math.inf, help="stop after so long (default: never)"
    )
    live.set_defaults(run=_live)


def _add_evaluate(commands, parents: list[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate", parents=parents, help="score on a corpus", epilog=EXIT_CODES
    )
    evaluate.add_argument("--data", type=Path, required=True, help="corpus folder")
    evaluate.add_argument("--corpus", choices=CORPORA, default="auto")
    evaluate.add_argument("--json", type=Path, help="write all figures and answers here")
    evaluate.add_argument(
        "--speakers",
        help="only these, as 1,11,20,2, or 'test': the bundle's "
        "own test speakers (default: everybody in the folder)",
    )
    evaluate.add_argument("--skip-bad", action="store_true", help="go on without bad files")
    evaluate.set_defaults(run=_evaluate)


def _add_verify(commands, trusted: argparse.ArgumentParser) -> None:
    verify = commands.add_parser(
        "verify",
        parents=[trusted],
        help="check a bundle: digests, labels, and that it answers as when it was exported",
        epilog=EXIT_CODES,
    )
    verify.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, metavar="BUNDLE")
    verify.set_defaults(run=_verify)


def _add_inspect(commands, trusted: argparse.ArgumentParser) -> None:
    inspect = commands.add_parser(
        "inspect",
        parents=[trusted],
        help="say what is in a bundle: network, inputs, data, figures, licence, digests",
        epilog=EXIT_CODES,
    )
    inspect.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, metavar="BUNDLE")
    inspect.add_argument("--format", choices=("json", "text"), default="text")
    inspect.set_defaults(run=_inspect)


def _add_sign(commands) -> None:
    sign = commands.add_parser(
        "sign",
        help="sign a bundle, so that others can tell who made it",
        description="Verify a bundle's digests and write bundle.sig: an Ed25519 signature of "
        "bundle.json. Keys: openssl genpkey -algorithm ed25519 -out private.pem; openssl pkey "
        "-in private.pem -pubout -out public.pem. Needs the package cryptography.",
        epilog=EXIT_CODES,
    )
    sign.add_argument("bundle", type=Path, metavar="BUNDLE")
    sign.add_argument("--key", type=Path, required=True, metavar="PEM", help="the private key")
    sign.set_defaults(run=_sign)


def _add_serve(commands, trusted: argparse.ArgumentParser) -> None:
    serve = commands.add_parser(
        "serve",
        parents=[trusted],
        help="answer over HTTP",
        description="Answer recordings and tensors over HTTP, with a page. An API key is needed "
        "to listen beyond this machine: KERAS_EMO_API_KEY, or a file.",
        epilog=EXIT_CODES,
    )
    serve.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    serve.add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    serve.add_argument("--port", type=_count, default=8080, help="0: any (default: %(default)s)")
    serve.add_argument(
        "--workers", type=_count, default=0, help="recordings at once (default: the cores at hand)"
    )
    serve.add_argument(
        "--queue", type=_count, default=32, help="requests that may wait (default: %(default)s)"
    )
    serve.add_argument("--max-upload-mb", type=_seconds, default=200, metavar="MB")
    serve.add_argument("--timeout-s", type=_seconds, default=60, help="for an answer")
    serve.add_argument("--stall-s", type=_seconds, default=10, help="for an upload that pauses")
    serve.add_argument(
        "--drain-s", type=_seconds, default=30, help="for the last answers after SIGTERM"
    )
    serve.add_argument("--api-key-file", type=Path, metavar="FILE")
    serve.set_defaults(run=_serve)


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
        _check_without(options, "--sandbox", "timeout_s", "memory_mb")
    if options.timeline:
        from keras_emo.commands.timeline import run_timeline

        return heed_sigterm(lambda: run_timeline(options))
    _check_without(options, "--timeline", "annotate", "plot", "report", "window_s", "hop_s")
    from keras_emo.commands.predict import run_predict

    return heed_sigterm(lambda: run_predict(options))


def _check_without(options: argparse.Namespace, needed: str, *names: str) -> None:
    """Raise UsageError for an option that means nothing without the one that is needed."""
    for name in names:
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(option, Reason.BAD_CONFIG, f"goes with {needed}")


def _live(options: argparse.Namespace) -> int:
    from keras_emo.commands.live import run_live

    return run_live(options)


def _evaluate(options: argparse.Namespace) -> int:
    from keras_emo.commands.evaluate import run_evaluate

    return run_evaluate(options)


def _verify(options: argparse.Namespace) -> int:
    from keras_emo.commands.verify import run_verify

    return run_verify(options)


def _sign(options: argparse.Namespace) -> int:
    from keras_emo.commands.sign import run_sign

    return run_sign(options)


def _inspect(options: argparse.Namespace) -> int:
    from keras_emo.commands.inspect import run_inspect

    return run_inspect(options)


def _serve(options: argparse.Namespace) -> int:
    require(*SERVE_PACKAGES, how="pip install -r requirements-serve.txt")
    from keras_emo.commands.serve import run_serve

    return run_serve(options)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def _megabytes(text: str) -> int:
    number = int(text)
    if not 0 < number <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to {1 << 20}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length of time")
    return number


if __name__ == "__main__":
    sys.exit(main())
