"""Training of a network that looks with a frozen backbone: its head, on stored statistics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_emo.networks import ModelEntry, load_weights
from keras_emo.progress import Progress
from keras_emo.training.config import StageConfig
from keras_emo.training.evaluate import run_keras
from keras_emo.training.features import fit_head
from keras_emo.training.run import Run

BACKBONE, STATISTICS, HEAD = "backbone", "statistics", "head"


def train_clip_head(run: Run, entry: ModelEntry, stage: StageConfig, start: Path) -> keras.Model:
    """Build the network on pretrained weights, standardise on training clips, train its head.

    start: weights of entry.backbone. Crops are taken as they are: altered one by one, they would
    differ within a clip by more than the face does. Raises UsageError for weights that do not
    fit, and where no training or validation clip has a face.
    """
    checked = run.check_modality(entry.name, "face")
    usable = np.flatnonzero(run.train.has_face)
    with run.replicas.strategy.scope():  # float32 whatever the precision: nothing here is slow
        model = run.build(entry.name)
        take_backbone(model, run.build(entry.backbone), start)
    statistics, head = model.get_layer(STATISTICS), model.get_layer(HEAD)
    clips = run.train
    seen = (clips.faces[clips.first[i] : clips.first[i] + clips.count[i]] for i in usable)
    pooled = pool_clips(model, seen, len(usable))
    statistics.adapt(pooled)
    known = {STATISTICS: _standardize(statistics, pooled, clips.count[usable])}
    faces = (face for _, c in checked if (face := c.load().face) is not None)
    pooled = pool_clips(model, faces, len(checked))
    counts = [c.n_crops for _, c in checked]
    looked_at = {STATISTICS: _standardize(statistics, pooled, counts)}
    labels = np.array([t.label for t, _ in checked])
    fit_head(run, entry.name, head, stage, (known, clips.labels[usable]), (looked_at, labels))
    return model


def take_backbone(model: keras.Model, trained: keras.Model, path: Path) -> None:
    """Give a network's backbone the weights in a file of the whole network that it is part of."""
    load_weights(trained, path)
    for layer in model.get_layer(BACKBONE).layers:
        if layer.weights:
            layer.set_weights(trained.get_layer(layer.name).get_weights())


def pool_clips(model: keras.Model, clips: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Statistics of n clips' crops, uint8 (n_crops, size, size, 3), not yet standardised."""
    backbone, statistics = model.get_layer(BACKBONE), model.get_layer(STATISTICS)
    see = run_keras(keras.Model(backbone.input, {"seen": backbone.output}))
    out = np.zeros((n, statistics.mean.shape[0]), np.float32)
    with Progress("clips whose faces are described", "clips") as progress:
        for i, crops in enumerate(clips):
            seen = see({"face": crops.astype(np.float32)})["seen"]
            counts = np.ones((1, len(crops)), np.float32)
            out[i] = keras.ops.convert_to_numpy(statistics.pool(seen, counts))[0]
            progress(i + 1, n)
    return out


def _standardize(statistics: keras.layers.Layer, pooled: np.ndarray, counts) -> np.ndarray:
    n = np.asarray(counts, np.float32)[:, None]
    standard: np.ndarray = keras.ops.convert_to_numpy(statistics.standardize(pooled, n))
    return standard
