"""Specs from plain values; contract: a usable spec, or the errors that from_dict documents."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mutation import mutate_json as mutate  # noqa: F401

from keras_emo.spec import ClipSpec, FaceSpec


def make_seeds() -> Iterator[bytes]:
    for spec in (ClipSpec(), ClipSpec(FaceSpec(speaker="central", decode_max_px=0))):
        yield json.dumps(spec.to_dict()).encode()


def attack(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        spec = ClipSpec.from_dict(value)
    except (TypeError, ValueError, KeyError):
        return
    again = ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert again == spec
    assert again.digest() == spec.digest()
    sizes = (*spec.face.shape, *spec.audio.shape, spec.face.max_frames, spec.audio.n_fft)
    assert all(type(n) is int and n > 0 for n in sizes), sizes
