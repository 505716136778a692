"""Half the bits for activations and gradients while a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def using_precision(kind: str) -> Iterator[None]:
    """Networks built inside the block compute in bfloat16 or float16 and keep float32 weights.

    kind: one of config.PRECISIONS, "" changes nothing. bfloat16 has float32's range and needs no
    scaling of the loss: it suits GPUs since 2020 and CPUs that know it. Older GPUs have float16
    alone, for which Keras scales the loss.
    """
    before = keras.config.dtype_policy()
    if kind:
        keras.config.set_dtype_policy(f"mixed_{kind}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
