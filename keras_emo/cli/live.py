"""keras-emo live: predictions for a webcam or a stream in real time, one line per hop."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from keras_emo import load
from keras_emo.cli.options import add_options, seconds
from keras_emo.errors import ExitCode
from keras_emo.io import open_output


def add_arguments(live: argparse.ArgumentParser) -> None:
    """Options of keras-emo live."""
    live.description = (
        "Predict from a webcam or a stream, one line per hop. Frames that arrive while the machine "
        "is busy are dropped. A webcam has no sound; of a file or a stream the sound is used too."
    )
    live.add_argument(
        "source",
        metavar="SOURCE",
        help="number of a webcam, a file, or a URL that begins with rtsp:, http: or https:",
    )
    add_options(live, "--bundle", "--threads", "--provider", "--window-s", "--hop-s")
    live.add_argument(
        "--format", choices=("json", "text"), default="text", help="(default: %(default)s)"
    )
    live.add_argument("--out", type=Path, help="write to this file instead of stdout")
    live.add_argument(
        "--max-s", type=seconds, default=math.inf, help="stop after this time (default: never)"
    )


def run(options: argparse.Namespace) -> int:
    """Predict until the source ends, --max-s, Ctrl-C or SIGTERM."""
    from keras_emo.inference.realtime import LivePredictions
    from keras_emo.media.live import open_source
    from keras_emo.render.writers import format_window

    with open_output(options.out) as stream:
        model = load(options.bundle, threads=options.threads, providers=options.providers)
        source = open_source(options.source)
        model.warm_up()
        if not source.has_audio and "voice" in model.bundle.modalities:
            print(f"warning: {options.source!r}: no sound, predicted from the face alone",
                  file=sys.stderr)  # fmt: skip
        lengths = options.window_s, options.hop_s
        with LivePredictions(model, source, options.source, *lengths, options.max_s) as windows:
            for window in windows:
                if options.format == "json":
                    dropped = {"pictures": windows.latest.n_dropped, "windows": windows.n_skipped}
                    line = window.to_dict() | {"dropped": dropped}
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                else:
                    stream.write(format_window(window))
                stream.flush()
    return ExitCode.OK
