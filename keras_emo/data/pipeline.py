"""Prepared clips as streams of augmented batches, with tf.data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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


def stream_faces(
    clips: Clips,
    batch: int,
    seed: int,
    crops_a_clip: int,
    changes: FaceChanges | None,
    first_epoch: int = 0,
    share: Share = WHOLE,
) -> tuple[Any, int]:
    """Endless epochs of augmented crops and the number of steps in one.

    Yields {"face"}, {"logits"}, sample weights and the size of the whole batch, float32; of
    each batch the rows of every replica of share in turn.

    Every epoch takes crops_a_clip crops of each clip at random (0: all), in another order,
    decided by the seed and the epoch. Weights even out the classes.
    """
    usable = np.flatnonzero(clips.has_face)
    weights = class_weights(clips.labels[usable])

    def epoch(number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number))
        if not crops_a_clip:
            return rng.permutation(len(clips.faces))
        picks = [clips.first[i] + rng.permutation(clips.count[i])[:crops_a_clip] for i in usable]
        return rng.permutation(np.concatenate(picks))

    faces, labels = clips.faces, clips.crop_labels
    return _stream_faces(faces, labels, weights, epoch, batch, seed, changes, first_epoch, share)


def stream_images(
    faces: np.ndarray,
    labels: np.ndarray,
    batch: int,
    seed: int,
    changes: FaceChanges | None,
    first_epoch: int = 0,
    share: Share = WHOLE,
) -> tuple[Any, int]:
    """Endless epochs of single pictures, uint8 (n, size, size, 3), for the pretrain stage."""

    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng((seed, number)).permutation(len(faces))

    weights = class_weights(labels)
    return _stream_faces(faces, labels, weights, epoch, batch, seed, changes, first_epoch, share)


def stream_voices(
    clips: Clips,
    batch: int,
    seed: int,
    changes: MfccChanges | None,
    spec: AudioSpec,
    first_epoch: int = 0,
    share: Share = WHOLE,
) -> tuple[Any, int]:
    """Endless epochs of MFCC, each clip as itself or one of its augmented versions."""
    usable = np.flatnonzero(clips.has_voice)
    weights = class_weights(clips.labels[usable])

    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng((seed, number)).permutation(usable)

    def fetch(index: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return clips.read_voices(index, draws % (clips.n_variants + 1))

    def augment(x, s, rows):
        return x if changes is None else augment_mfcc(x, s, changes, spec, rows)

    source = "mfcc", clips.mfcc.shape[1:], epoch, fetch, clips.labels, weights
    return _stream(*source, batch, seed, first_epoch, augment, share)


def class_weights(labels: np.ndarray, n_classes: int = N_EMOTIONS) -> np.ndarray:
    """Weights float32 (n_classes,) that give every class the same total, mean 1 over clips."""
    counts = np.bincount(labels, minlength=n_classes)
    present = max(1, int((counts > 0).sum()))
    return (len(labels) / (present * np.maximum(counts, 1))).astype(np.float32)


def _stream_faces(faces, labels, weights, epoch, batch, seed, changes, first_epoch, share):
    def fetch(index: np.ndarray, _draws: np.ndarray) -> np.ndarray:
        return faces[index].astype(np.float32)

    def augment(x, s, rows):
        return x if changes is None else augment_faces(x, s, changes, rows)

    source = "face", faces.shape[1:], epoch, fetch, labels, weights
    return _stream(*source, batch, seed, first_epoch, augment, share)


def _stream(name, shape, epoch, fetch, labels, weights, batch, seed, first_epoch, augment, share):
    """tf.data over batches of indices: NumPy reads, TensorFlow augments, both ahead of the step.

    epoch: the order of an epoch by its number. fetch: rows of the array name, float32, by their
    indices and a random number each. augment: (rows, seed, place in the whole batch).
    """
    import tensorflow as tf

    n = len(epoch(0))
    share.check(min(batch, n))
    steps = max(1, n // batch)  # a short last batch would be noisy

    def indices():
        number = first_epoch
        while True:
            order = epoch(number)
            rng = np.random.default_rng((seed, number, 1))
            for i in range(steps):
                index = order[i * batch : (i + 1) * batch]
                draws = rng.integers(0, 2**31 - 1, len(index))
                changes = rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
                for rows in share.cut(len(index)):
                    own = index[rows]
                    y = labels[own]
                    place = np.array([rows.start, len(index)], np.int32)
                    yield fetch(own, draws[rows]), y, weights[y], changes, place
            number += 1

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
