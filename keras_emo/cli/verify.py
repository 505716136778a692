"""keras-emo verify: whether a bundle is complete and predicts as when it was exported."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from keras_emo import load
from keras_emo.cli.options import add_bundle_argument
from keras_emo.errors import BundleError, ExitCode, Reason
from keras_emo.inference.bundle import GOLDEN, load_bundle, load_golden
from keras_emo.progress import Progress

# Other processors add in another order, after which int8 rounds another way: by a fifth of this
# at most where onnxruntime computed one file in two ways.
TOLERANCES = {"probs": 1e-3, "logits": 1e-3, "embedding": 1e-3}
INT8_TOLERANCES = {"probs": 0.02, "logits": 0.2, "embedding": 0.2}


def add_arguments(verify: argparse.ArgumentParser) -> None:
    """Options of keras-emo verify."""
    add_bundle_argument(verify)


def run(options: argparse.Namespace) -> int:
    """Check digests and description, then the golden values. Raises BundleError."""
    with Progress(str(options.bundle)) as progress:
        return _verify(options.bundle, progress)


def _verify(folder: Path, progress: Progress) -> int:
    progress.say("digests")
    bundle = load_bundle(folder)
    golden = bundle.folder / GOLDEN
    if GOLDEN not in bundle.info["files"]:
        raise BundleError(golden, Reason.BAD_BUNDLE, "the bundle has no golden values to check")
    feed, expected = load_golden(golden)
    progress.say("golden values")
    try:
        said = load(bundle).run(feed)
        apart = {k: float(np.abs(said[k] - v).max()) for k, v in expected.items()}
        allowed = INT8_TOLERANCES if bundle.info.get("precision") == "int8" else TOLERANCES
        within = all(apart[k] <= allowed[k] for k in apart)  # not so for NaN
    except (KeyError, TypeError, ValueError) as e:
        cause = f"golden values of another network: {e}"
        raise BundleError(golden, Reason.BAD_BUNDLE, cause) from e
    progress.clear()
    worst = float(np.max(list(apart.values())))
    if not within:
        cause = f"it answers otherwise than when it was exported: by {worst:.1e}"
        raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, cause)
    size_mb = sum((folder / name).stat().st_size for name in bundle.info["files"]) / 1e6
    print(
        f"{bundle.folder}: {bundle.info['model']}, {len(bundle.info['files'])} files, "
        f"{size_mb:.1f} MB, as bundle.json says; golden values within {worst:.1e}"
    )
    return ExitCode.OK
