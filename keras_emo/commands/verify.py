"""keras-emo verify: whether a bundle is whole and answers as when it was exported."""

from __future__ import annotations

import argparse

import numpy as np

from keras_emo.core.errors import BundleError, ExitCode, Reason
from keras_emo.runtime.bundle import GOLDEN, load_bundle
from keras_emo.runtime.predictor import Predictor

TOLERANCE = 1e-3  # of logits; other processors add in another order


def run_verify(options: argparse.Namespace) -> int:
    """Check digests and description, then the golden values. Raises BundleError."""
    bundle = load_bundle(options.bundle)
    golden = bundle.folder / GOLDEN
    if GOLDEN not in bundle.info["files"]:
        raise BundleError(golden, Reason.BAD_BUNDLE, "the bundle has no golden values to check")
    with np.load(golden, allow_pickle=False) as data:
        feed = {k[3:]: data[k] for k in data if k.startswith("in_")}
        expected = {k[4:]: data[k] for k in data if k.startswith("out_")}
    said = Predictor(bundle).run(feed)
    worst = max(float(np.abs(said[k] - v).max()) for k, v in expected.items())
    if not worst <= TOLERANCE:
        cause = f"it answers otherwise than when it was exported: by {worst:.1e}"
        raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, cause)
    size_mb = sum(f["bytes"] for f in bundle.info["files"].values()) / 1e6
    print(
        f"{bundle.folder}: {bundle.info['model']}, {len(bundle.info['files'])} files, "
        f"{size_mb:.1f} MB, as bundle.json says; golden values within {worst:.1e}"
    )
    return ExitCode.OK
