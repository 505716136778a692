"""Prepared clips through a network: one rule for training, export checks and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, islice

import numpy as np

from keras_emo.features.clip import ClipInputs
from keras_emo.labels import N_EMOTIONS
from keras_emo.spec import ClipSpec

Batch = dict[str, np.ndarray]
Run = Callable[[Batch], dict[str, np.ndarray]]
FRAMES = ("none", "each", "one", "all")


def choose_frame(found: np.ndarray) -> int:
    """Index of the middle one of the frames in which a face was found; bool (n_frames,)."""
    candidates = np.flatnonzero(found)
    return int(candidates[len(candidates) // 2])


def can_predict(clip: ClipInputs, names: Sequence[str]) -> bool:
    """Whether a clip has what a network with these inputs needs: with masks, either modality."""
    has = {"face": "face" in clip.modalities, "mfcc": "voice" in clip.modalities}
    wanted = [name for name in has if name in names]
    required = [name for name in wanted if f"{name}_mask" not in names]
    return all(has[name] for name in required) and any(has[name] for name in wanted)


def collate_clips(
    clips: Sequence[ClipInputs], names: Sequence[str], frames: str, spec: ClipSpec
) -> Batch:
    """Batch prepared clips for a network; all arrays float32.

    names: its inputs, of ``face``, ``face_mask``, ``mfcc``, ``mfcc_mask``. frames: how crops
    reach it: ``none``; ``each`` crop of each clip as a row of its own; ``one``, the middle crop
    with a face; ``all``, padded to the longest clip, mask 0 on padding. An absent modality is
    zeros under a zero mask. Raises ValueError for a clip that lacks an input.
    """
    for i, clip in enumerate(clips):
        if not can_predict(clip, names):
            raise ValueError(f"clip {i} lacks an input among {', '.join(names)}")
    batch: Batch = {}
    if "face" in names:
        batch |= _collate_faces(clips, frames, spec)
    if "mfcc" in names:
        silence = np.zeros(spec.audio.shape, np.float32)
        batch["mfcc"] = np.stack([silence if c.mfcc is None else c.mfcc for c in clips])
        batch["mfcc_mask"] = np.array([[c.mfcc is not None] for c in clips], np.float32)
    return {name: batch[name] for name in names}


def _collate_faces(clips: Sequence[ClipInputs], frames: str, spec: ClipSpec) -> Batch:
    faces = [np.empty((0, *spec.face.shape)) if c.face is None else c.face for c in clips]
    if frames == "each":
        return {"face": np.concatenate(faces, dtype=np.float32)}
    if frames == "one":
        faces = [
            face[choose_frame(c.face_found)][None] if len(face) else face
            for c, face in zip(clips, faces, strict=True)
        ]
    shape = len(clips), max(1, *map(len, faces))
    face = np.zeros((*shape, *spec.face.shape), np.float32)
    mask = np.zeros(shape, np.float32)
    for i, crops in enumerate(faces):
        face[i, : len(crops)], mask[i, : len(crops)] = crops, 1.0
    return {"face": face[:, 0] if frames == "one" else face, "face_mask": mask}


def predict_clips(
    run: Run,
    clips: Iterable[ClipInputs],
    names: Sequence[str],
    frames: str,
    spec: ClipSpec,
    batch: int = 8,
) -> np.ndarray:
    """Probabilities float32 (n_clips, 7); a row of NaN for a clip that lacks an input.

    run: a batch to at least ``logits`` (batch, 7), by Keras or by onnxruntime. With frames
    ``each`` the logits of a clip are the mean of its crops'.
    """
    clips, rows = iter(clips), [np.empty((0, N_EMOTIONS), np.float32)]
    while chunk := list(islice(clips, batch)):  # all may not fit into memory
        probs = np.full((len(chunk), N_EMOTIONS), np.nan, np.float32)
        usable = [can_predict(clip, names) for clip in chunk]
        ready = list(compress(chunk, usable))
        if ready:
            logits = run(collate_clips(ready, names, frames, spec))["logits"]
            if frames == "each":
                ends = np.cumsum([len(c.face) for c in ready if c.face is not None])
                logits = np.stack([crops.mean(axis=0) for crops in np.split(logits, ends[:-1])])
            probs[usable] = softmax(logits)
        rows.append(probs)
    return np.concatenate(rows)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs
