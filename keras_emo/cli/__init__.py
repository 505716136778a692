"""The ``keras-emo`` command: one module of keras_emo.cli for each subcommand.

Such a module has ``add_arguments(parser)`` and ``run(options)``. Only that of the chosen command is
imported, so that a prediction starts soon and needs no package of another command.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module

from keras_emo import __version__
from keras_emo.cli.options import EXIT_CODES
from keras_emo.cli.run import require, run_command

COMMANDS = {
    "predict": "predict the emotion of clips, or of every window of long recordings",
    "live": "predict from a webcam or a stream in real time",
    "evaluate": "measure a bundle on a labeled corpus",
    "preprocess": "prepare a corpus for training",
    "train": "train networks",
    "export": "export trained networks as bundles",
    "verify": "check a bundle's files and its predictions",
    "inspect": "show what a bundle contains",
    "serve": "predict over HTTP",
}
PACKAGES = ("numpy", "cv2", "onnxruntime", "av", "soxr", "tqdm")


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The options of keras-emo, those of the chosen command only or, by default, of all."""
    parser = argparse.ArgumentParser(
        prog="keras-emo",
        description="Recognize seven emotions in the face and the voice of a person speaking.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"keras_emo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, epilog=EXIT_CODES)
        if chosen in (None, name):
            module = import_module(f"keras_emo.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(function=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run keras-emo; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = next((a for a in arguments if not a.startswith("-")), "")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be of any bytes
    return run_command(_run, chosen, arguments)


def _run(chosen: str, arguments: Sequence[str]) -> int:
    options = build_parser(chosen).parse_args(arguments)
    require(*PACKAGES)
    return options.function(options)
