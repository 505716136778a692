"""keras-emo verify: whether a bundle is complete and predicts as when it was exported."""

from __future__ import annotations

import argparse

from keras_emo import load
from keras_emo.cli.options import add_options
from keras_emo.errors import BundleError, ExitCode, Reason

# Processors add in different orders, and int8 then rounds differently. The largest difference seen
# between two ways of computing one file was a fifth of this.
TOLERANCES = {"probs": 1e-3, "logits": 1e-3, "embedding": 1e-3}
INT8_TOLERANCES = {"probs": 0.02, "logits": 0.2, "embedding": 0.2}


def add_arguments(verify: argparse.ArgumentParser) -> None:
    """Options of keras-emo verify."""
    add_options(verify, "bundle")


def run(options: argparse.Namespace) -> int:
    """Check the files of a bundle, then its predictions for stored inputs. Raises BundleError."""
    import numpy as np

    from keras_emo.inference.bundle import GOLDEN, load_bundle, load_golden

    bundle = load_bundle(options.bundle)
    golden = bundle.folder / GOLDEN
    if GOLDEN not in bundle.manifest.files:
        raise BundleError(golden, Reason.BAD_BUNDLE, "the bundle has no golden values to check")
    inputs, expected = load_golden(golden)
    try:
        outputs = load(bundle).run(inputs)
        differences = {k: float(np.abs(outputs[k] - v).max()) for k, v in expected.items()}
        allowed = INT8_TOLERANCES if bundle.manifest.precision == "int8" else TOLERANCES
        within = all(differences[k] <= allowed[k] for k in differences)  # False for NaN
    except (KeyError, TypeError, ValueError) as e:
        cause = f"golden values of another network: {e}"
        raise BundleError(golden, Reason.BAD_BUNDLE, cause) from e
    worst = float(np.max(list(differences.values())))
    if not within:
        cause = f"its predictions differ by {worst:.1e} from those at export"
        raise BundleError(bundle.model_path, Reason.BAD_BUNDLE, cause)
    size_mb = sum((bundle.folder / name).stat().st_size for name in bundle.manifest.files) / 1e6
    print(
        f"{bundle.folder}: {bundle.manifest.model}, {len(bundle.manifest.files)} files, "
        f"{size_mb:.1f} MB, digests as in bundle.json; golden values within {worst:.1e}"
    )
    return ExitCode.OK
