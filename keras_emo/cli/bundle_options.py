"""Options of the commands about a bundle itself: verify, inspect."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from keras_emo.cli.options import DEFAULT_BUNDLE, EXIT_CODES, Commands


def add_verify(commands: Commands, run: Callable[..., int]) -> None:
    """keras-emo verify."""
    verify = commands.add_parser(
        "verify",
        help="check a bundle: digests, labels, and that it answers as when it was exported",
        epilog=EXIT_CODES,
    )
    _add_bundle(verify)
    verify.set_defaults(run=run)


def add_inspect(commands: Commands, run: Callable[..., int]) -> None:
    """keras-emo inspect."""
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a bundle: network, inputs, data, figures, licence, digests",
        epilog=EXIT_CODES,
    )
    _add_bundle(inspect)
    inspect.add_argument("--format", choices=("json", "text"), default="text")
    inspect.set_defaults(run=run)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, metavar="BUNDLE")
