"""Options of the commands that answer: predict, live, serve."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from keras_emo.cli.options import (
    EXIT_CODES,
    Commands,
    Shared,
    count,
    megabytes,
    positive_count,
    seconds,
)


def add_predict(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo predict."""
    predict = commands.add_parser(
        "predict",
        parents=[shared.bundle, shared.threads, shared.windows, shared.engine],
        help="answer clips",
        epilog=EXIT_CODES,
    )
    predict.add_argument(
        "clips",
        nargs="+",
        type=Path,
        metavar="CLIP",
        help="video or sound files, or folders of them",
    )
    predict.add_argument(
        "--format", default="text", help="csv, json, text, parquet or one that is added"
    )
    predict.add_argument(
        "--out", type=Path, help="write here instead of to stdout; with --format parquet a folder"
    )
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
        "--timeout-s", type=seconds, help="with --sandbox, for a clip, or for a window of a "
        "timeline (default: 60)",
    )  # fmt: skip
    predict.add_argument(
        "--memory-mb", type=megabytes, help="with --sandbox, beyond what it needs to start "
        "(default: 2048)",
    )  # fmt: skip
    predict.add_argument(
        "--workers", type=positive_count, help="with --engine ray: processes of --threads each, "
        "there 1 by default (default: as many as there are cores for)",
    )  # fmt: skip
    predict.add_argument(
        "--shard-clips", type=positive_count, metavar="N", help="with --format parquet: clips a "
        "file, also what a restart may repeat (default: 256, with --timeline 16)",
    )  # fmt: skip
    predict.set_defaults(run=run)


def add_live(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo live."""
    live = commands.add_parser(
        "live",
        parents=[shared.bundle, shared.threads, shared.windows],
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
        "--max-s", type=seconds, default=math.inf, help="stop after so long (default: never)"
    )
    live.set_defaults(run=run)


def add_serve(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo serve."""
    serve = commands.add_parser(
        "serve",
        parents=[shared.bundle],
        help="answer over HTTP",
        description="Answer recordings and tensors over HTTP, with a page. An API key is needed "
        "to listen beyond this machine: KERAS_EMO_API_KEY, or a file.",
        epilog=EXIT_CODES,
    )
    serve.add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    serve.add_argument("--port", type=count, default=8080, help="0: any (default: %(default)s)")
    serve.add_argument(
        "--workers", type=count, default=0, help="recordings at once (default: the cores at hand)"
    )
    serve.add_argument(
        "--queue", type=count, default=32, help="requests that may wait (default: %(default)s)"
    )
    serve.add_argument("--max-upload-mb", type=megabytes, default=200, metavar="MB")
    serve.add_argument("--timeout-s", type=seconds, default=60, help="for an answer")
    serve.add_argument("--stall-s", type=seconds, default=10, help="for an upload that pauses")
    serve.add_argument(
        "--drain-s", type=seconds, default=30, help="for the last answers after SIGTERM"
    )
    serve.add_argument("--api-key-file", type=Path, metavar="FILE")
    serve.set_defaults(run=run)
