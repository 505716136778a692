"""keras-emo live: answers to a webcam or a stream, a line a hop."""

from __future__ import annotations

import argparse
import json
import sys

from keras_emo.cli.run import exit_on_sigterm
from keras_emo.errors import ExitCode
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.model import Predictor
from keras_emo.inference.realtime import LivePredictions
from keras_emo.media.live import open_source
from keras_emo.output import open_output
from keras_emo.render.writers import format_window


def run_live(options: argparse.Namespace) -> int:
    """Answer until the source ends, --max-s, Ctrl-C or SIGTERM."""
    return exit_on_sigterm(lambda: _answer(options))


def _answer(options: argparse.Namespace) -> int:
    with open_output(options.out) as stream:
        predictor = Predictor(load_bundle(options.bundle), options.threads)
        source = open_source(options.source)
        predictor.warm_up()
        if not source.has_audio and "voice" in predictor.bundle.modalities:
            print(f"warning: {options.source!r}: no sound, answered from the face alone",
                  file=sys.stderr)  # fmt: skip
        lengths = options.window_s, options.hop_s
        with LivePredictions(predictor, source, options.source, *lengths, options.max_s) as answers:
            for answer in answers:
                if options.format == "json":
                    dropped = {"pictures": answers.latest.n_dropped, "windows": answers.n_skipped}
                    line = answer.to_dict() | {"dropped": dropped}
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                else:
                    stream.write(format_window(answer))
                stream.flush()
    return ExitCode.OK
