"""Heads on stored features: of a fusion's frozen branches, and of a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.data.augment import augment_faces, augment_mfcc
from keras_emo.data.clips import Clips, StoredClip
from keras_emo.data.pipeline import WHOLE, Share, class_weights
from keras_emo.inference.batch import choose_frame, softmax
from keras_emo.networks import MODELS, ModelEntry, load_weights
from keras_emo.progress import Progress
from keras_emo.training.config import StageConfig, TrainConfig
from keras_emo.training.evaluate import run_keras
from keras_emo.training.fit import copy_branches, fit
from keras_emo.training.run import Run

Features = dict[str, np.ndarray]
Labeled = tuple[Features, np.ndarray]  # features and labels of clips
BATCH = 64
BACKBONE, STATISTICS, HEAD = "backbone", "statistics", "head"  # layers


def train_fusion(run: Run, name: str, stage: StageConfig) -> keras.Model:
    """Build a fusion on its trained branches and train its head.

    A learned weighted average has one weight and one scale: they are fitted on validation
    speakers, since on training speakers both networks are right almost always and the weight
    would reward the one that memorized more; without any, both networks count alike. A trained
    head has a size of its own: it is trained on augmented training clips and stopped by
    validation speakers, or after its epochs where there are none.
    """
    entry = MODELS[name]
    visual, audio = (run.load(branch) for branch in entry.branches)
    model = run.build_trainee(name)
    copy_branches(model, (visual, audio))
    if not run.validates and not entry.trained_head:
        return model
    clips = [clip for _, clip in run.val]
    val = extract_features(visual, audio, clips, entry.frames == "one")
    labels = np.array([sample.label for sample, _ in run.val])
    known, truth = val, labels
    if entry.trained_head:
        passes = [
            extract_augmented(visual, audio, run.train_voices, run.config, number)
            for number in range(max(1, stage.passes))
        ]
        for number, features in enumerate(passes):
            hide_modalities(features, stage.drop_modality, (run.config.seed, number, 3))
        known = {key: np.concatenate([p[key] for p in passes]) for key in passes[0]}
        truth = np.tile(run.train.labels, len(passes))
    head = model.get_layer(HEAD)
    fit_head(run, name, head, stage, (known, truth), (val, labels), entry.trained_head)
    return model


def train_clip_head(run: Run, entry: ModelEntry, stage: StageConfig, start: Path) -> keras.Model:
    """Build a network on a pretrained backbone and train its head on statistics of its features.

    start: weights of entry.backbone. Crops are not augmented: changed one by one, they would
    differ within a clip by more than the face does. Raises UsageError for weights that do not
    fit, and where no training or validation clip has a face.
    """
    checked = run.check_modality(entry.name, "face")
    clips, usable = run.train, np.flatnonzero(run.train.has_face)
    with run.replicas.strategy.scope():  # float32 whatever the precision: nothing here is slow
        model, trained = run.build(entry.name), run.build(entry.backbone)
        load_weights(trained, start)
        for layer in [each for each in model.get_layer(BACKBONE).layers if each.weights]:
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    statistics = model.get_layer(STATISTICS)
    crops = (clips.faces[clips.first[i] : clips.first[i] + clips.count[i]] for i in usable)
    train = pool_clips(model, crops, len(usable))
    faces = (face for _, clip in checked if (face := clip.load().face) is not None)
    val = pool_clips(model, faces, len(checked))
    statistics.adapt(train)
    known = _standardize(statistics, train, clips.count[usable])
    validation = _standardize(statistics, val, [clip.n_crops for _, clip in checked])
    labels = np.array([sample.label for sample, _ in checked])
    fit_head(
        run, entry.name, model.get_layer(HEAD), stage, (known, clips.labels[usable]),
        (validation, labels),
    )  # fmt: skip
    return model


def fit_head(
    run: Run,
    name: str,
    head: keras.Model,
    stage: StageConfig,
    train: Labeled,
    val: Labeled,
    weighted: bool = True,
) -> None:
    """Train a head on stored features.

    val: of the validation clips, which choose the epoch where there are validation speakers.
    weighted: whether classes are evened out.
    """
    features, labels = val
    checkpoints, first = run.restore(name)
    share = run.replicas.share
    data, steps = stream_features(*train, stage.batch, run.config.seed, first, weighted, share)
    forward = run_keras(head)

    def predict() -> np.ndarray:
        return softmax(forward({key: features[key] for key in head.input})["logits"])

    fit(run, checkpoints, head, data, steps, predict if run.validates else None, labels)


def hide_modalities(features: Features, share: float, seed: tuple[int, ...]) -> None:
    """Hide the face in a share of the clips that have both, and the voice in as many others.

    So that the head also learns to predict from one alone (Neverova et al. 2015,
    arXiv:1501.00102).
    """
    draws = np.random.default_rng(seed).random(len(features["has_face"]))
    both = (features["has_face"][:, 0] > 0) & (features["has_voice"][:, 0] > 0)
    features["has_face"][both & (draws < share)] = 0.0
    features["has_voice"][both & (draws >= share) & (draws < 2 * share)] = 0.0


def extract_features(
    visual: keras.Model, audio: keras.Model, clips: Sequence[StoredClip], one_frame: bool
) -> Features:
    """Logits and embeddings of both networks for prepared clips, float32 (n_clips, ...)."""
    run_visual, run_audio = run_keras(visual), run_keras(audio)
    features = _allocate(visual, audio, len(clips))
    with Progress("extracted features", "clips") as progress:
        for i, stored in enumerate(clips):
            clip = stored.load()
            if clip.face is not None:
                crops = clip.face.astype(np.float32)
                if one_frame:
                    crops = crops[choose_frame(clip.face_found)][None]
                if "face_mask" in visual.input:
                    mask = np.ones((1, len(crops)), np.float32)
                    outputs = run_visual({"face": crops[None], "face_mask": mask})
                else:
                    outputs = run_visual({"face": crops})
                _store(features, "face", i, {k: v.mean(axis=0) for k, v in outputs.items()})
            if clip.mfcc is not None:
                outputs = run_audio({"mfcc": clip.mfcc[None]})
                _store(features, "voice", i, {k: v[0] for k, v in outputs.items()})
            progress(i + 1, len(clips))
    return features


def extract_augmented(
    visual: keras.Model, audio: keras.Model, clips: Clips, config: TrainConfig, number: int
) -> Features:
    """The same for training clips, each with augmented crops and one augmented voice."""
    rng = np.random.default_rng((config.seed, number, 2))
    features = _allocate(visual, audio, len(clips))
    with_face, picks = np.flatnonzero(clips.has_face), [np.zeros(0, int)]
    for row in with_face:  # half of a clip's crops: faces are missed in real clips too
        chosen = rng.permutation(clips.count[row])[: max(1, clips.count[row] // 2)]
        picks.append(clips.first[row] + chosen)
    index, ends = np.concatenate(picks), np.cumsum([len(pick) for pick in picks])

    def read_faces(rows: slice) -> np.ndarray:
        faces = clips.faces[index[rows]].astype(np.float32)
        return augment_faces(faces, _draw_seed(rng), config.faces).numpy()

    outputs = _run_batches(run_keras(visual), "face", len(index), read_faces)
    for n, i in enumerate(with_face.tolist()):
        mean = {k: v[ends[n] : ends[n + 1]].mean(axis=0) for k, v in outputs.items()}
        _store(features, "face", i, mean)
    version = np.zeros(len(clips), int)
    if clips.n_variants:
        version = rng.integers(0, clips.n_variants, len(clips))

    def read_voices(rows: slice) -> np.ndarray:  # a batch at a time: all may not fit into memory
        mfcc = clips.read_voices(np.arange(len(clips))[rows], version[rows])
        return augment_mfcc(mfcc, _draw_seed(rng), config.mfcc, config.clip.audio).numpy()

    outputs = _run_batches(run_keras(audio), "mfcc", len(clips), read_voices)
    with_voice = np.flatnonzero(clips.has_voice)
    _store(features, "voice", with_voice, {k: v[with_voice] for k, v in outputs.items()})
    return features


def pool_clips(model: keras.Model, clips: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Statistics of n clips' crops, uint8 (n_crops, size, size, 3), not yet standardized."""
    backbone, statistics = model.get_layer(BACKBONE), model.get_layer(STATISTICS)
    forward = run_keras(keras.Model(backbone.input, {"features": backbone.output}))
    out = np.zeros((n, statistics.mean.shape[0]), np.float32)
    with Progress("extracted features of faces", "clips") as progress:
        for i, crops in enumerate(clips):
            features = forward({"face": crops.astype(np.float32)})["features"]
            counts = np.ones((1, len(crops)), np.float32)
            out[i] = keras.ops.convert_to_numpy(statistics.pool(features, counts))[0]
            progress(i + 1, n)
    return out


def stream_features(
    known: Features, truth: np.ndarray, batch: int, seed: int, first_epoch: int, weighted: bool,
    share: Share = WHOLE,
) -> tuple[Any, int]:  # fmt: skip
    """Endless shuffled epochs over stored features, of the form that pipeline's streams have."""
    import tensorflow as tf

    batch = min(batch, len(truth))
    share.check(batch)
    steps = len(truth) // batch
    weights = class_weights(truth) if weighted else np.ones(7, np.float32)

    def rows():
        number = first_epoch
        while True:
            order = np.random.default_rng((seed, number)).permutation(len(truth))
            for i in range(steps):
                together = order[i * batch : (i + 1) * batch]
                for own in share.cut(batch):
                    chosen = together[own]
                    x = {k: v[chosen] for k, v in known.items()}
                    y = np.eye(7, dtype=np.float32)[truth[chosen]]
                    yield x, {"logits": y}, {"logits": weights[truth[chosen]]}, np.float32(batch)
            number += 1

    signature = (
        {k: tf.TensorSpec((None, *v.shape[1:]), tf.float32) for k, v in known.items()},
        {"logits": tf.TensorSpec((None, 7), tf.float32)},
        {"logits": tf.TensorSpec((None,), tf.float32)},
        tf.TensorSpec((), tf.float32),
    )
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    return data.prefetch(2 * share.count), steps


def _standardize(
    statistics: keras.layers.Layer, pooled: np.ndarray, counts: Sequence[int] | np.ndarray
) -> Features:
    n = np.asarray(counts, np.float32)[:, None]
    return {STATISTICS: keras.ops.convert_to_numpy(statistics.standardize(pooled, n))}


def _allocate(visual: keras.Model, audio: keras.Model, n: int) -> Features:
    features: Features = {}
    for side, model in (("face", visual), ("voice", audio)):
        for kind in ("logits", "embedding"):
            features[f"{side}_{kind}"] = np.zeros((n, model.output[kind].shape[-1]), np.float32)
        features[f"has_{side}"] = np.zeros((n, 1), np.float32)
    return features


def _store(features: Features, side: str, i: int | np.ndarray, outputs: Features) -> None:
    for kind in ("logits", "embedding"):
        features[f"{side}_{kind}"][i] = outputs[kind]
    features[f"has_{side}"][i] = 1.0


def _run_batches(
    run: Callable[[Features], Features], name: str, n: int, read: Callable[[slice], np.ndarray]
) -> Features:
    batches = []
    with Progress(f"extracted features of training clips: {name}", "items") as progress:
        for i in range(0, n, BATCH):
            batches.append(run({name: read(slice(i, min(i + BATCH, n)))}))
            progress(min(i + BATCH, n), n)
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]} if batches else {}


def _draw_seed(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
