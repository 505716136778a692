"""Where a network is trained: on one device, on all of this machine, or on several machines.

Every worker draws the same order of examples and takes its own rows of each batch; gradients and
the statistics of batch normalisation are summed over all, so that the weights stay those of one
process with the whole batch, up to rounding. What differs is dropout: every replica draws masks
of its own, since its rows are not the batch's. The run folder lies on storage that all share;
the chief alone writes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_emo.data.pipeline import Share
from keras_emo.errors import EmoError, EnvironmentFailure, Reason
from keras_emo.training.interrupt import heed_again
from keras_emo.training.team import Kind, Team

START_S = 300  # for TensorFlow's own connections, once every worker is known to be there
LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError, tf.errors.InternalError,
)  # fmt: skip  # what collective operations end with when a peer is gone


class Crew:
    """The replicas of a network that are trained as one, those of this process among them."""

    def __init__(self, strategy: tf.distribute.Strategy | None = None, team: Team | None = None):
        self.strategy, self.team = strategy or tf.distribute.get_strategy(), team or Team()
        total = self.strategy.num_replicas_in_sync
        n_local = total // self.team.size  # as TensorFlow has it, every worker has as many
        self.share = Share(self.team.number * n_local, n_local, total)

    @property
    def many(self) -> bool:
        return self.share.total > 1

    def iterate(self, data: tf.data.Dataset) -> Iterator[Any]:
        """Batches of a stream over this crew's share, as a training step takes them."""
        if not self.many:
            return iter(data)
        return iter(self.strategy.distribute_datasets_from_function(lambda _: data))

    @contextlib.contextmanager
    def heed_losses(self) -> Iterator[None]:
        """Operations over all replicas: EnvironmentFailure, worker_died, where a worker is gone."""
        try:
            yield
        except LOST as e:
            if self.team.size == 1:
                raise
            raise self.team.blame(e) from e


def open_crew(kind: Kind, team: Team) -> Crew:
    """A crew; before any other operation of TensorFlow.

    mirrored: all GPUs, or else all logical CPU devices of this process. Raises
    EnvironmentFailure where workers cannot reach each other.
    """
    if kind == "none":
        return Crew()
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Crew(tf.distribute.MirroredStrategy([d.name for d in devices]))
    team.agree(lambda: None)  # what follows waits without end for who is gone by now
    with _give_up_after(START_S):
        try:
            return Crew(tf.distribute.MultiWorkerMirroredStrategy(), team)
        except LOST as e:
            raise team.blame(e) from e
        finally:
            heed_again()  # TensorFlow takes SIGTERM for a notice of eviction and goes on


@contextlib.contextmanager
def _give_up_after(seconds: float) -> Iterator[None]:
    """End the process when the block takes longer: TensorFlow heeds no signal meanwhile."""

    def end() -> None:
        cause = f"the workers did not reach each other within {seconds:.0f} s"
        failure: EmoError = EnvironmentFailure("TF_CONFIG", Reason.WORKER_DIED, cause)
        print(f"error: {failure}", file=sys.__stderr__, flush=True)
        os._exit(failure.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
