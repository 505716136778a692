"""keras-emo serve: the bundle behind HTTP."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from keras_emo.cli.options import add_options, count, positive_count, seconds
from keras_emo.cli.run import require
from keras_emo.errors import Reason, UsageError
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.session import CPU, available_cores
from keras_emo.serve.settings import MB, Settings, choose_key

HOW_TO_SERVE = "install keras_emo with the extra serve, or pip install -r requirements-serve.txt"
PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "fastapi_offline")


def add_arguments(serve: argparse.ArgumentParser) -> None:
    """Options of keras-emo serve."""
    add_options(serve, "--bundle", "--provider")
    serve.add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    for name, kind, default, text in (
        ("--port", count, 8080, "0: any"),
        ("--workers", count, 0, "recordings at once; 0: one per core"),
        ("--queue", count, 32, "requests that may wait"),
        ("--max-upload-mb", positive_count, 200, "of a form"),
        ("--timeout-s", seconds, 60, "for a prediction"),
        ("--stall-s", seconds, 10, "for a pausing upload"),
        ("--drain-s", seconds, 30, "after SIGTERM"),
    ):
        serve.add_argument(name, type=kind, default=default, help=f"{text} (default: %(default)s)")
    text = "with the API key for listening beyond this machine, instead of KERAS_EMO_API_KEY"
    serve.add_argument("--api-key-file", type=Path, metavar="FILE", help=text)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; a second signal does not wait for running requests."""
    require(*PACKAGES, how=HOW_TO_SERVE)
    key = choose_key(options.host, os.environ, options.api_key_file)
    try:
        settings = Settings(
            host=options.host,
            port=options.port,
            workers=options.workers or available_cores(),
            queue=options.queue,
            max_upload_bytes=round(options.max_upload_mb * MB),
            timeout_s=options.timeout_s,
            drain_s=options.drain_s,
            stall_s=options.stall_s,
            api_key=key,
            providers=tuple(options.providers or (CPU,)),
        )
    except ValueError as e:
        raise UsageError("serve", Reason.BAD_CONFIG, str(e)) from None
    bundle = load_bundle(options.bundle)
    from keras_emo.serve.process import serve  # here: invalid options fail sooner

    return serve(bundle, settings)
