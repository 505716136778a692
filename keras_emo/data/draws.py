"""Random numbers for a slice of a batch: the same that it would get as part of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Draws:
    """Stateless draws for n rows of a batch.

    rows: int32 (2,), the first of them and the size of the whole batch, when they are a slice;
    None when they are the batch. Several workers then change a batch exactly as one does.
    """

    def __init__(self, n: Any, rows: Any = None):
        self.n = n
        self.start: Any
        self.total: Any
        self.start, self.total = (0, n) if rows is None else (rows[0], rows[1])

    def uniform(self, shape: Sequence[Any], seed: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
        """(n, *shape) from low to below high; whole numbers where these are."""
        import tensorflow as tf

        kind = tf.int32 if isinstance(low, int) else tf.float32
        whole = tf.random.stateless_uniform([self.total, *shape], seed, low, high, kind)
        return whole[self.start : self.start + self.n]

    def normal(self, shape: Sequence[Any], seed: Any) -> Any:
        """(n, *shape) of mean 0 and deviation 1."""
        import tensorflow as tf

        whole = tf.random.stateless_normal([self.total, *shape], seed)
        return whole[self.start : self.start + self.n]
