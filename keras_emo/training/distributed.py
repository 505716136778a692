"""Where a network is trained: on one device, on all of this machine, or on several workers.

Every worker draws the same order of examples and takes its own rows of each batch; gradients and
the statistics of batch normalization are summed over all, so that the weights are those of one
process with the whole batch, up to rounding. Dropout differs: every replica draws its own masks,
since its rows are not the batch's. The run folder lies on shared storage; rank 0, the
coordinator, is the only one to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import keras
import tensorflow as tf

from keras_emo.data.pipeline import Share
from keras_emo.errors import EmoError

Value = TypeVar("Value")


class Replicas:
    """The replicas of a network that are trained as one, those of this process among them.

    rank, size: of this process among the workers of a Ray Train job; alone where not given.
    failure: what ended on_coordinator, in every worker.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy | None = None, rank: int = 0, size: int = 1
    ):
        self.strategy, self.rank, self.size = strategy or tf.distribute.get_strategy(), rank, size
        self.failure: EmoError | None = None
        total = self.strategy.num_replicas_in_sync
        n_local = total // size  # every worker has as many
        self.share = Share(rank * n_local, n_local, total)

    @property
    def many(self) -> bool:
        return self.share.total > 1

    def on_coordinator(self, function: Callable[[], Value]) -> Value:
        """What function returned in the coordinator; the others wait for it.

        The result is small where there are others. An EmoError is raised in every worker.
        """
        if self.size == 1:
            return function()
        from ray.train.collective import broadcast_from_rank_zero

        outcome: tuple[Any, EmoError | None] | None = None
        if self.rank == 0:
            try:
                outcome = function(), None
            except EmoError as e:
                outcome = None, e
        value, self.failure = broadcast_from_rank_zero(outcome)
        if self.failure is not None:
            raise self.failure
        return value

    def iterate(self, data: tf.data.Dataset) -> Iterator[Any]:
        """Batches of a stream over this process's share, as a training step takes them."""
        if not self.many:
            return iter(data)
        return iter(self.strategy.distribute_datasets_from_function(lambda _: data))

    def synchronize(self, model: keras.Model) -> None:
        """Let batch normalization use the statistics of the whole batch, over all replicas."""
        for layer in walk_layers(model):
            if self.many and isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


def mirror_devices() -> Replicas:
    """One replica on each GPU of this machine, or else on each logical CPU device."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Replicas(tf.distribute.MirroredStrategy([d.name for d in devices]))


def walk_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models inside it, in a fixed order."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from walk_layers(layer)
