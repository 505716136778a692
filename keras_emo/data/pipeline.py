"""Prepared clips as streams of augmented batches, with tf.data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import Any

import numpy as np

from keras_emo.data.augment import FaceChanges, MfccChanges, augment_faces, augment_mfcc
from keras_emo.data.clips import Clips
from keras_emo.errors import Reason, UsageError
from keras_emo.labels import N_EMOTIONS
from keras_emo.spec import AudioSpec


@dataclass(frozen=True)
class Share:
    """The replicas first .. first + count of total that a process trains, and their rows."""

    first: int = 0
    count: int = 1
    total: int = 1

    def cut(self, n: int) -> list[slice]:
        """Rows of each own replica in a batch of n; sizes differ by one where n does not divide."""
        bounds = [r * n // self.total for r in range(self.first, self.first + self.count + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def check(self, batch: int) -> None:
        """Raise UsageError where a batch has not a row for every replica."""
        if batch < self.total:
            cause = f"{batch} examples cannot be shared among {self.total} replicas"
            raise UsageError("batch", Reason.BAD_CONFIG, cause)


WHOLE = Share()


@dataclass(frozen=True)
class Schedule:
    """Endless epochs of shuffled batches, decided by the seed and the number of the epoch."""

    batch: int
    seed: int
    first_epoch: int = 0
    share: Share = WHOLE

    def permute(self, rows: int | np.ndarray, epoch: int) -> np.ndarray:
        """Row numbers, or how many there are, in the order of an epoch."""
        return np.random.default_rng((self.seed, epoch)).permutation(rows)


def stream_faces(
    clips: Clips, schedule: Schedule, crops_a_clip: int, changes: FaceChanges | None
) -> tuple[Any, int]:
    """A tf.data.Dataset of augmented crops, and the number of steps in an epoch.

    Yields {"face"}, {"logits"}, sample weights that even out the classes, and the size of the
    whole batch, float32; of each batch the rows of every replica of the schedule's share in turn.
    Every epoch takes crops_a_clip crops of each clip at random (0: all).
    """
    usable = np.flatnonzero(clips.has_face)
    weights = class_weights(clips.labels[usable])

    def epoch(number: int) -> np.ndarray:
        if not crops_a_clip:
            return schedule.permute(len(clips.faces), number)
        rng = np.random.default_rng((schedule.seed, number))
        picks = [clips.first[i] + rng.permutation(clips.count[i])[:crops_a_clip] for i in usable]
        return rng.permutation(np.concatenate(picks))

    return _stream_faces(clips.faces, clips.crop_labels, weights, epoch, schedule, changes)


def stream_images(
    faces: np.ndarray, labels: np.ndarray, schedule: Schedule, changes: FaceChanges | None
) -> tuple[Any, int]:
    """As stream_faces, of single pictures, uint8 (n, size, size, 3), for the pretrain stage."""
    epoch = partial(schedule.permute, len(faces))
    return _stream_faces(faces, labels, class_weights(labels), epoch, schedule, changes)


def stream_voices(
    clips: Clips, schedule: Schedule, changes: MfccChanges | None, spec: AudioSpec
) -> tuple[Any, int]:
    """As stream_faces, of MFCC: each clip as itself or one of its augmented versions."""
    usable = np.flatnonzero(clips.has_voice)
    weights = class_weights(clips.labels[usable])
    epoch = partial(schedule.permute, usable)

    def fetch(index: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return clips.read_voices(index, draws % (clips.n_variants + 1))

    def augment(x, s, rows):
        return x if changes is None else augment_mfcc(x, s, changes, spec, rows)

    shape = clips.mfcc.shape[1:]
    return _stream("mfcc", shape, epoch, fetch, clips.labels, weights, augment, schedule)


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Weights float32 (7,) that give every class the same total, mean 1 over clips."""
    counts = np.bincount(labels, minlength=N_EMOTIONS)
    present = max(1, int((counts > 0).sum()))
    return (len(labels) / (present * np.maximum(counts, 1))).astype(np.float32)


def _stream_faces(faces, labels, weights, epoch, schedule, changes):
    def fetch(index: np.ndarray, _draws: np.ndarray) -> np.ndarray:
        return faces[index].astype(np.float32)

    def augment(x, s, rows):
        return x if changes is None else augment_faces(x, s, changes, rows)

    return _stream("face", faces.shape[1:], epoch, fetch, labels, weights, augment, schedule)


def _stream(name, shape, epoch, fetch, labels, weights, augment, schedule):
    """tf.data over batches of indices: NumPy reads, TensorFlow augments, both ahead of the step.

    epoch: the order of an epoch by its number. fetch: rows of the array name, float32, by their
    indices and a random number each. augment: (rows, seed, place in the whole batch).
    """
    import tensorflow as tf

    batch, share, n = schedule.batch, schedule.share, len(epoch(0))
    share.check(min(batch, n))
    steps = max(1, n // batch)  # a short last batch would be noisy

    def indices():
        for number in count(schedule.first_epoch):
            order = epoch(number)
            rng = np.random.default_rng((schedule.seed, number, 1))
            for i in range(steps):
                index = order[i * batch : (i + 1) * batch]
                draws = rng.integers(0, 2**31 - 1, len(index))
                changes = rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
                for rows in share.cut(len(index)):
                    own = index[rows]
                    y = labels[own]
                    place = np.array([rows.start, len(index)], np.int32)
                    yield fetch(own, draws[rows]), y, weights[y], changes, place

    signature = (
        tf.TensorSpec((None, *shape), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((2,), tf.int32),
        tf.TensorSpec((2,), tf.int32),
    )
    data = tf.data.Dataset.from_generator(indices, output_signature=signature)

    def finish(x, y, w, s, place):
        return (
            {name: augment(x, s, None if share == WHOLE else place)},
            {"logits": tf.one_hot(y, N_EMOTIONS)},
            {"logits": w},
            tf.cast(place[1], tf.float32),
        )

    data = data.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return data.prefetch(2 * share.count), steps
