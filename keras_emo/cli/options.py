"""Options that several commands share, and the types of options; imports no package."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from keras_emo.cli.run import require
from keras_emo.errors import Reason, UsageError

HOW_TO_SCALE = "install keras_emo with the extra scale, or pip install -r requirements-scale.txt"
EXIT_CODES = (
    "Exit codes: 0 ok, 2 usage, 3 clip rejected, 4 partial result, 5 bundle refused, "
    "6 environment, 124 timeout, 130 stopped by Ctrl-C, 143 by SIGTERM. An error is one line on "
    "stderr: file: reason: cause."
)


def seconds(text: str) -> float:
    """An option's value: a length of time in s."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a length of time")
    return number


def names(text: str) -> tuple[str, ...]:
    """An option's value: names between commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """The type of an option: a whole number from low to high."""

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not from {low} to {high}")
        return number

    parse.__name__ = "whole number"  # argparse names it for what is no number at all
    return parse


count, positive_count = whole_number(0, 1 << 20), whole_number(1, 1 << 20)
_BUNDLE = "bundle folder (default: KERAS_EMO_BUNDLE, or the pretrained model)"
SHARED: dict[str, dict[str, Any]] = {
    "--bundle": {"type": Path, "help": _BUNDLE},
    "bundle": {"type": Path, "nargs": "?", "metavar": "BUNDLE", "help": _BUNDLE},
    "--threads": {
        "type": count, "default": 0, "help": "CPU threads (default: one per available core)",
    },
    "--provider": {
        "action": "append", "dest": "providers", "metavar": "NAME",
        "help": "execution provider of onnxruntime, for example CUDAExecutionProvider; may be "
        "repeated, the preferred one first (default: CPUExecutionProvider)",
    },
    "--window-s": {
        "type": seconds,
        "help": "length of a window (default: 3, or the network's audio length if that is shorter)",
    },
    "--hop-s": {"type": seconds, "help": "time between windows (default: 1)"},
    "--engine": {
        "choices": ("local", "ray"), "default": "local",
        "help": "where to compute: on this machine, or with Ray, which may span a cluster (needs "
        "the extra scale; default: %(default)s)",
    },
    "--address": {
        "help": "with --engine ray: address of a running cluster (default: RAY_ADDRESS, or a new "
        "Ray instance on this machine)",
    },
    "--corpus": {
        "default": "auto",
        "help": "ravdess, savee or a registered corpus (default: recognized by its file names)",
    },
    "--cache": {
        "type": Path, "default": Path("cache"),
        "help": "folder for the prepared clips (default: %(default)s)",
    },
    "--skip-bad": {"action": "store_true", "help": "skip unreadable files"},
}  # fmt: skip


class Arguments(Protocol):
    """A parser or a group of its options."""

    def add_argument(self, *names: str, **how: Any) -> argparse.Action: ...


def add_options(parser: Arguments, *names: str) -> None:
    """Add options of the table SHARED."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def check_engine(options: argparse.Namespace, *only_ray: str) -> None:
    """Raise an EmoError if Ray is missing, or if its options are given without it.

    only_ray: names of further options that need --engine ray.
    """
    if options.engine == "ray":
        require("ray", "pyarrow", how=HOW_TO_SCALE)
    else:
        check_without(options, "--engine ray", "address", *only_ray)


def check_without(options: argparse.Namespace, needed: str, *names: str) -> None:
    """Raise UsageError for an option that has no meaning without the one that is needed."""
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')}", Reason.BAD_CONFIG, f"goes with {needed}"
            )
