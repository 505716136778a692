"""Bundles of the folds of one corpus: each has test speakers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from keras_emo.errors import Reason, UsageError
from keras_emo.inference.bundle import DESCRIPTION, Bundle

_SHARED = ("model", "preset", "precision", "soup", "clip_spec")


def find_folds(folder: Path) -> list[Path]:
    """Bundle folders in a folder, by name. Raises UsageError for fewer than two."""
    found = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
    if len(found) < 2:
        cause = f"{len(found)} bundles in it; --folds takes a folder with one for each fold"
        raise UsageError(folder, Reason.NOT_FOUND, cause)
    return found


def check_folds(bundles: Sequence[Bundle], speakers: Sequence[set[str]]) -> None:
    """Raise UsageError where bundles were made in different ways, where a speaker tests two of
    them, and where one was learned from by the bundle that it tests.

    speakers: who tests each.
    """
    first = bundles[0]
    for bundle in bundles[1:]:
        for key in _SHARED:
            if getattr(bundle.manifest, key) != getattr(first.manifest, key):
                cause = f"it has another {key} than {first.folder}: not folds of one network"
                raise UsageError(bundle.folder, Reason.BAD_CONFIG, cause)
    tested: set[str] = set()
    for bundle, own in zip(bundles, speakers, strict=True):
        split = bundle.manifest.corpus.split
        for known, how in ((tested, "tests another fold too"), (split.train, "was learned from"),
                           (split.val, "validated it")):  # fmt: skip
            if both := sorted(own & set(known)):
                cause = f"test speaker {both[0]} {how}"
                raise UsageError(bundle.folder, Reason.BAD_SPLIT, cause)
        tested |= own


def describe_folds(bundles: Sequence[Bundle], figures: dict[str, Any]) -> dict[str, Any]:
    """What is known of the folds beside the figures of all their clips.

    ``folds``: accuracy by bundle; fold_mean and fold_deviation of these; ``made``: how the bundles
    were made, with n_networks averaged in each. export.py takes it all as a --table.
    """
    folds: dict[str, float] = {}
    for bundle in bundles:
        tested = bundle.manifest.corpus.split.test
        parts = [figures["by_speaker"][s] for s in tested if s in figures["by_speaker"]]
        n_clips = sum(part["n_clips"] for part in parts)
        folds[bundle.folder.name] = sum(p["accuracy"] * p["n_clips"] for p in parts) / n_clips
    manifest = bundles[0].manifest
    return {
        "folds": folds,
        "fold_mean": fmean(folds.values()),
        "fold_deviation": pstdev(folds.values()),
        "made": {
            "model": manifest.model,
            "precision": manifest.precision,
            **({"soup": list(manifest.soup)} if manifest.soup else {}),
            "n_networks": max(1, len(manifest.corpus.split.members)),
        },
    }
