"""keras-emo sign: say who made a bundle."""

from __future__ import annotations

import argparse

from keras_emo.core.errors import ExitCode
from keras_emo.runtime.bundle import DESCRIPTION, load_bundle
from keras_emo.runtime.signature import sign_description


def run_sign(options: argparse.Namespace) -> int:
    """Verify a bundle's digests and sign its description. Raises BundleError, UsageError."""
    bundle = load_bundle(options.bundle)
    description = (bundle.folder / DESCRIPTION).read_bytes()
    print(sign_description(description, bundle.folder, options.key))
    return ExitCode.OK
