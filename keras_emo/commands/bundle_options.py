"""Options of the commands about a bundle itself: verify, inspect, sign."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from keras_emo.commands.options import DEFAULT_BUNDLE, EXIT_CODES, Commands, Shared


def add_verify(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo verify."""
    verify = commands.add_parser(
        "verify",
        parents=[shared.signer],
        help="check a bundle: digests, labels, and that it answers as when it was exported",
        epilog=EXIT_CODES,
    )
    _add_bundle(verify)
    verify.set_defaults(run=run)


def add_inspect(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo inspect."""
    inspect = commands.add_parser(
        "inspect",
        parents=[shared.signer],
        help="say what is in a bundle: network, inputs, data, figures, licence, digests",
        epilog=EXIT_CODES,
    )
    _add_bundle(inspect)
    inspect.add_argument("--format", choices=("json", "text"), default="text")
    inspect.set_defaults(run=run)


def add_sign(commands: Commands, shared: Shared, run: Callable[..., int]) -> None:
    """keras-emo sign."""
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
    sign.set_defaults(run=run)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, metavar="BUNDLE")
