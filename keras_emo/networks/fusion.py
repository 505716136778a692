"""Networks that combine face and voice, built on a branch for each.

Every fusion takes masks, so that a clip without a face or without sound is classified by the
other modality: ``face_mask`` 1 for each frame that counts, ``mfcc_mask`` 1 where there is
sound. An absent input may hold any finite values.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_emo.labels import N_EMOTIONS
from keras_emo.networks.layers import (
    AnyFrame,
    WeightedAverage,
    average_frames,
    classify,
    name_outputs,
)  # fmt: skip
from keras_emo.spec import ClipSpec

HEAD_INPUTS = ("logits", "embedding")


def head_inputs(visual: keras.Model, audio: keras.Model) -> dict[str, Any]:
    """Inputs of a fusion head alone, for training it on stored features."""
    sizes = {
        f"{side}_{kind}": model.output[kind].shape[-1]
        for side, model in (("face", visual), ("voice", audio))
        for kind in HEAD_INPUTS
    }
    inputs = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    inputs |= {name: keras.Input((1,), name=name) for name in ("has_face", "has_voice")}
    return inputs


def join(
    spec: ClipSpec, name: str, branches: list[keras.Model], many_frames: bool, head: keras.Model
) -> keras.Model:
    """The whole graph: both branches, then the head; of several frames outputs are averaged."""
    visual, audio = branches
    n_frames = (None,) if many_frames else ()
    face = keras.Input((*n_frames, *spec.face.shape), name="face", dtype="float32")
    face_mask = keras.Input(n_frames or (1,), name="face_mask", dtype="float32")
    mfcc = keras.Input(spec.audio.shape, name="mfcc", dtype="float32")
    mfcc_mask = keras.Input((1,), name="mfcc_mask", dtype="float32")
    if "face_mask" in visual.input:  # it takes all frames itself
        face_outputs = visual({"face": face, "face_mask": face_mask})
    else:
        face_outputs = (
            average_frames(visual, face, face_mask) if many_frames else visual({"face": face})
        )
    voice_outputs = audio({"mfcc": mfcc})
    features = {f"face_{k}": face_outputs[k] for k in HEAD_INPUTS}
    features |= {f"voice_{k}": voice_outputs[k] for k in HEAD_INPUTS}
    features["has_face"] = AnyFrame(name="has_face")(face_mask) if many_frames else face_mask
    outputs = head({**features, "has_voice": mfcc_mask})
    inputs = {"face": face, "face_mask": face_mask, "mfcc": mfcc, "mfcc_mask": mfcc_mask}
    return keras.Model(inputs, name_outputs(outputs["logits"], outputs["embedding"]), name=name)


def join_embeddings(x: dict[str, Any]):
    """Both embeddings side by side; an absent modality contributes zeros."""
    sides = [
        keras.layers.Multiply(name=f"{s}_part")([x[f"{s}_embedding"], x[f"has_{s}"]])
        for s in ("face", "voice")
    ]
    return keras.layers.Concatenate(name="both")(sides)


def average_logits(x: dict[str, Any], per_class: bool = False, scale: float = 1.0):
    """Learned weighted average of both networks' logits."""
    average = WeightedAverage(per_class, scale, name="average")
    return average(x["face_logits"], x["voice_logits"], x["has_face"], x["has_voice"])


def build_concat(
    spec: ClipSpec, branches: list[keras.Model], units: tuple[int, ...], dropout: float,
    batch_norm: bool,
) -> keras.Model:  # fmt: skip
    """Feature fusion: both embeddings (the face's averaged over frames), three dense layers.

    Inputs: ``face`` (batch, frames, 224, 224, 3) 0 to 255, ``face_mask`` (batch, frames),
    ``mfcc`` (batch, 20, 282), ``mfcc_mask`` (batch, 1). Outputs as every network's.
    """
    x = head_inputs(*branches)
    y = join_embeddings(x)
    if batch_norm:
        y = keras.layers.BatchNormalization(momentum=0.9, name="both_norm")(y)
    for i, n in enumerate(units, 1):
        y = keras.layers.Dropout(dropout, name=f"fuse_drop{i}")(y)
        y = keras.layers.Dense(
            n, activation="relu", kernel_initializer="he_normal", name=f"fuse{i}"
        )(y)
    head = keras.Model(x, classify(y, y), name="head")
    return join(spec, "fusion_concat", branches, True, head)


def build_joint(
    spec: ClipSpec, branches: list[keras.Model], name: str, units: int, dropout: float
) -> keras.Model:
    """Decision and feature fusion in one: the average of logits, corrected from both embeddings.

    All frames, the whole clip's voice. Inputs and outputs as fusion_concat's.
    """
    x = head_inputs(*branches)
    logits = average_logits(x)
    y = keras.layers.BatchNormalization(momentum=0.9, name="both_norm")(join_embeddings(x))
    y = keras.layers.Dropout(dropout, name="both_drop")(y)
    y = keras.layers.Dense(
        units, activation="relu", kernel_initializer="he_normal", name="both_dense"
    )(y)
    y = keras.layers.Dropout(dropout, name="dense_drop")(y)
    correction = keras.layers.Dense(N_EMOTIONS, kernel_initializer="zeros", name="correction")(y)
    logits = keras.layers.Add(name="corrected")([logits, correction])
    head = keras.Model(x, name_outputs(logits, y), name="head")
    return join(spec, name, branches, True, head)


def build_average(
    spec: ClipSpec, branches: list[keras.Model], name: str, many_frames: bool, per_class: bool,
    scale: float,
) -> keras.Model:  # fmt: skip
    """Decision fusion: of one frame or of all, a learned weighted average with the voice.

    scale: of the average, where learning begins; it stays without validation speakers.
    """
    x = head_inputs(*branches)
    outputs = name_outputs(average_logits(x, per_class, scale), join_embeddings(x))
    return join(spec, name, branches, many_frames, keras.Model(x, outputs, name="head"))
