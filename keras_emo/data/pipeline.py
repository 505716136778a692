"""Prepared clips as arrays in memory, and tf.data streams over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.core.labels import N_EMOTIONS
from keras_emo.core.spec import AudioSpec
from keras_emo.data.augment import FaceChanges, MfccChanges, change_faces, change_mfcc
from keras_emo.data.cache import count_crops, load_clip, load_mfcc
from keras_emo.data.takes import Take


@dataclass
class Clips:
    """Clips of one part of the split, side by side.

    faces: uint8 (n_crops, size, size, 3), clip after clip; the crops of clip i are
    first[i] .. first[i] + count[i]. mfcc: float32 (n_clips, n_mfcc, n_frames), zeros where absent.
    variants: float32 (n_clips, n_variants, ...) altered sound, or None. labels: int32.
    """

    takes: list[Take]
    faces: np.ndarray
    first: np.ndarray
    count: np.ndarray
    mfcc: np.ndarray
    has_voice: np.ndarray
    labels: np.ndarray
    variants: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.takes)

    @property
    def has_face(self) -> np.ndarray:
        return self.count > 0

    @property
    def crop_labels(self) -> np.ndarray:
        return np.repeat(self.labels, self.count)


def load_clips(
    takes: Sequence[Take],
    files: dict[str, Path],
    mfcc_shape: tuple[int, int],
    face_shape: tuple[int, int, int],
) -> Clips:
    """Read the prepared files of takes; takes without a file (they failed) are left out."""
    takes = [t for t in takes if t.take_id in files]
    counts = [count_crops(files[t.take_id]) for t in takes]
    first = np.cumsum(counts, dtype=np.int64) - counts
    # filled in place: a list and its concatenation would need the memory twice
    faces = np.empty((sum(counts), *face_shape), np.uint8)
    mfcc = np.zeros((len(takes), *mfcc_shape), np.float32)
    has_voice = np.zeros(len(takes), bool)
    for i, take in enumerate(takes):
        clip = load_clip(files[take.take_id])
        if clip.face is not None:
            faces[first[i] : first[i] + counts[i]] = clip.face
        if clip.mfcc is not None:
            mfcc[i], has_voice[i] = clip.mfcc, True
    return Clips(
        takes=list(takes),
        faces=faces,
        first=first,
        count=np.array(counts, np.int64),
        mfcc=mfcc,
        has_voice=has_voice,
        labels=np.array([t.label for t in takes], np.int32),
    )


def load_variants(clips: Clips, files: dict[str, Path], n_variants: int) -> np.ndarray | None:
    """Altered MFCC float32 (n_clips, n_variants, ...); a clip without a file repeats its own."""
    if not n_variants:
        return None
    variants = np.repeat(clips.mfcc[:, None], n_variants, axis=1)
    for i, take in enumerate(clips.takes):
        if take.take_id in files:
            variants[i] = load_mfcc(files[take.take_id])
    return variants


def stream_faces(
    clips: Clips,
    batch: int,
    seed: int,
    crops_a_clip: int,
    changes: FaceChanges | None,
    first_epoch: int = 0,
) -> tuple[Any, int]:
    """Endless epochs of augmented crops and the number of steps in one.

    Yields {"face"}, {"logits"} and sample weights, as Model.fit takes them.

    Every epoch takes crops_a_clip crops of each clip at random (0: all), in another order,
    decided by the seed and the epoch. Weights even out the classes.
    """
    usable = np.flatnonzero(clips.has_face)
    weights = class_weights(clips.labels[usable])
    crop_labels = clips.crop_labels

    def epoch(number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number))
        if not crops_a_clip:
            return rng.permutation(len(clips.faces))
        picks = [clips.first[i] + rng.permutation(clips.count[i])[:crops_a_clip] for i in usable]
        return rng.permutation(np.concatenate(picks))

    def fetch(index: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return clips.faces[index].astype(np.float32)

    return _stream(
        "face",
        clips.faces.shape[1:],
        epoch,
        fetch,
        crop_labels,
        weights,
        batch,
        seed,
        first_epoch,
        None if changes is None else lambda x, s: change_faces(x, s, changes),
    )


def stream_voices(
    clips: Clips,
    batch: int,
    seed: int,
    changes: MfccChanges | None,
    spec: AudioSpec,
    first_epoch: int = 0,
) -> tuple[Any, int]:
    """Endless epochs of MFCC, each clip as itself or one of its altered versions."""
    usable = np.flatnonzero(clips.has_voice)
    weights = class_weights(clips.labels[usable])

    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng((seed, number)).permutation(usable)

    def fetch(index: np.ndarray, draws: np.ndarray) -> np.ndarray:
        if clips.variants is None:
            return clips.mfcc[index]
        choice = draws % (clips.variants.shape[1] + 1)
        own = choice == clips.variants.shape[1]
        return np.where(
            own[:, None, None],
            clips.mfcc[index],
            clips.variants[index, np.where(own, 0, choice)],
        )

    return _stream(
        "mfcc",
        clips.mfcc.shape[1:],
        epoch,
        fetch,
        clips.labels,
        weights,
        batch,
        seed,
        first_epoch,
        None if changes is None else lambda x, s: change_mfcc(x, s, changes, spec),
    )


def stream_images(
    faces: np.ndarray,
    labels: np.ndarray,
    batch: int,
    seed: int,
    changes: FaceChanges | None,
    first_epoch: int = 0,
) -> tuple[Any, int]:
    """Endless epochs of single pictures, uint8 (n, size, size, 3), for the pretrain stage."""

    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng((seed, number)).permutation(len(faces))

    return _stream(
        "face",
        faces.shape[1:],
        epoch,
        lambda index, draws: faces[index].astype(np.float32),
        labels,
        class_weights(labels),
        batch,
        seed,
        first_epoch,
        None if changes is None else lambda x, s: change_faces(x, s, changes),
    )


def class_weights(labels: np.ndarray, n_classes: int = N_EMOTIONS) -> np.ndarray:
    """Weights float32 (n_classes,) that give every class the same total, mean 1 over clips."""
    counts = np.bincount(labels, minlength=n_classes)
    present = max(1, int((counts > 0).sum()))
    return (len(labels) / (present * np.maximum(counts, 1))).astype(np.float32)


def _stream(name, shape, epoch, fetch, labels, weights, batch, seed, first_epoch, change):
    """tf.data over index batches: numpy picks, TensorFlow augments, both ahead of the step."""
    import tensorflow as tf

    steps = max(1, len(epoch(0)) // batch)  # a short last batch would be noisy

    def indices():
        number = first_epoch
        while True:
            order = epoch(number)
            rng = np.random.default_rng((seed, number, 1))
            for i in range(steps):
                index = order[i * batch : (i + 1) * batch]
                draws = rng.integers(0, 2**31 - 1, len(index))
                x = fetch(index, draws)
                y = labels[index]
                yield x, y, weights[y], rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
            number += 1

    signature = (
        tf.TensorSpec((None, *shape), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((2,), tf.int32),
    )
    data = tf.data.Dataset.from_generator(indices, output_signature=signature)

    def finish(x, y, w, s):
        return (
            {name: x if change is None else change(x, s)},
            {"logits": tf.one_hot(y, N_EMOTIONS)},
            {"logits": w},
        )

    data = data.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return data.prefetch(2), steps
