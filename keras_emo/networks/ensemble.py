"""Several trained networks as one graph with their average output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_emo.networks.layers import average_frames, name_outputs
from keras_emo.spec import ClipSpec


def average_models(models: Sequence[keras.Model], name: str | None = None) -> keras.Model:
    """Mean of the networks' logits; embedding: theirs side by side.

    name: the first one's where None; the members are then renamed, as they share theirs.

    The networks have the same inputs. Trained from other seeds they make different errors, so the
    mean is right more often than one (Lakshminarayanan et al. 2017, arXiv:1612.01474). Raises
    ValueError for fewer than two, or where inputs differ.
    """
    if len(models) < 2:
        raise ValueError("an ensemble has at least two members")
    first = models[0]
    shapes = {name: tensor.shape for name, tensor in first.input.items()}
    if any({k: v.shape for k, v in m.input.items()} != shapes for m in models):
        raise ValueError("the members of an ensemble take the same inputs")
    inputs = {
        name: keras.Input(tensor.shape[1:], name=name, dtype=tensor.dtype)
        for name, tensor in first.input.items()
    }
    members = models
    if name is None:  # nested models need names of their own
        members = [keras.Model(m.input, m.output, name=f"member{i}") for i, m in enumerate(models)]
    outputs = [member(inputs) for member in members]
    return keras.Model(inputs, _average(outputs), name=name or first.name)


def _average(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Outputs of several networks as one's: the mean of logits, embeddings side by side."""
    logits, embeddings = ([outputs[k] for outputs in several] for k in ("logits", "embedding"))
    return name_outputs(
        keras.layers.Average(name="member_mean")(logits),
        keras.layers.Concatenate(name="member_embeddings")(embeddings),
    )


def average_weights(models: Sequence[keras.Model]) -> keras.Model:
    """The first network with the mean of all the networks' weights.

    For networks that were fine-tuned from the same weights its predictions are about their
    average, at the cost of one network (model soups, Wortsman et al. 2022, arXiv:2203.05482); for
    others they are useless. Raises ValueError where shapes differ.
    """
    every = [model.get_weights() for model in models]
    models[0].set_weights([np.mean(same, axis=0) for same in zip(*every, strict=True)])
    return models[0]


def build_visual_ensemble(spec: ClipSpec, branches: list[keras.Model]) -> keras.Model:
    """A network trained on these actors' faces and one that was not: the mean of their logits.

    The first one's outputs are averaged over frames. Inputs: ``face`` (batch, frames, size,
    size, 3), 0 to 255, ``face_mask`` (batch, frames). Outputs: ``probs`` and ``logits``
    (batch, 7), ``embedding``: both, the first's averaged over frames.
    """
    each, whole = branches
    face = keras.Input((None, *spec.face.shape), name="face", dtype="float32")
    face_mask = keras.Input((None,), name="face_mask", dtype="float32")
    inputs = {"face": face, "face_mask": face_mask}
    outputs = _average([average_frames(each, face, face_mask), whole(inputs)])
    return keras.Model(inputs, outputs, name="visual_ensemble")


def build_audio_ensemble(spec: ClipSpec, branches: list[keras.Model]) -> keras.Model:
    """Two kinds of voice network, which make different errors: the mean of their logits.

    Input ``mfcc``: (batch, n_mfcc, n_frames), not normalized. Outputs: ``probs`` and ``logits``
    (batch, 7), ``embedding``: both, side by side.
    """
    return average_models(branches, "audio_ensemble")
