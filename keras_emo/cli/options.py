"""What the options of several commands have in common; imports no package."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_emo.errors import Reason, UsageError

DEFAULT_BUNDLE = Path(os.environ.get("KERAS_EMO_BUNDLE", "saved_models/default"))
CORPUS_HELP = "ravdess, savee or one that is added"
EXIT_CODES = (
    "Exit codes: 0 ok, 2 usage, 3 clip rejected, 4 partial result, 5 bundle refused, "
    "6 environment, 124 timeout, 130 stopped by Ctrl-C, 143 by SIGTERM. An error is one line on "
    "stderr: file: reason: cause."
)
Commands = Any  # what add_subparsers returns has no public name


@dataclass(frozen=True)
class Shared:
    """Options that several commands take, each set as the parent of a parser."""

    bundle: argparse.ArgumentParser
    threads: argparse.ArgumentParser
    windows: argparse.ArgumentParser
    engine: argparse.ArgumentParser


def build_shared() -> Shared:
    """Every set of shared options, new."""
    bundle = argparse.ArgumentParser(add_help=False)
    bundle.add_argument(
        "--bundle",
        type=Path,
        default=DEFAULT_BUNDLE,
        help="bundle folder (default: KERAS_EMO_BUNDLE, or saved_models/default)",
    )
    threads = argparse.ArgumentParser(add_help=False)
    threads.add_argument("--threads", type=count, default=0, help="default: the cores at hand")
    windows = argparse.ArgumentParser(add_help=False)
    windows.add_argument(
        "--window-s",
        type=seconds,
        help="length of a window (default: 3, or less where the network hears less)",
    )
    windows.add_argument("--hop-s", type=seconds, help="from window to window (default: 1)")
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who works: this machine, or Ray, which may be a cluster (needs the extra scale)",
    )
    engine.add_argument(
        "--address",
        help="with --engine ray: of a running cluster (default: RAY_ADDRESS, or a Ray of its own, "
        "on this machine alone)",
    )
    return Shared(bundle, threads, windows, engine)


def count(text: str) -> int:
    """An option's value: a whole number from 0 on."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def positive_count(text: str) -> int:
    """An option's value: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def megabytes(text: str) -> int:
    """An option's value: whole MiB, up to a TiB."""
    number = int(text)
    if not 0 < number <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to {1 << 20}")
    return number


def seconds(text: str) -> float:
    """An option's value: a length of time in s."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length of time")
    return number


def check_without(options: argparse.Namespace, needed: str, *names: str) -> None:
    """Raise UsageError for an option that means nothing without the one that is needed."""
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')}", Reason.BAD_CONFIG, f"goes with {needed}"
            )
