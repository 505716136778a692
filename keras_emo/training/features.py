"""Stage two: a fusion's head is trained on the outputs of its frozen branches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_emo.data.augment import augment_faces, augment_mfcc
from keras_emo.data.clips import Clips
from keras_emo.data.pipeline import WHOLE, Share, class_weights
from keras_emo.inference.batch import choose_frame, softmax
from keras_emo.networks import MODELS
from keras_emo.progress import Progress
from keras_emo.training.config import StageConfig
from keras_emo.training.evaluate import run_keras
from keras_emo.training.fit import copy_branches, fit, restore
from keras_emo.training.run import Run

Features = dict[str, np.ndarray]
BATCH = 64


def train_fusion(run: Run, name: str, stage: StageConfig) -> keras.Model:
    """Build a fusion on the finished networks of stage one and train its head.

    A learned weighted average has one weight and one scale: they are fitted on validation
    speakers, since on training speakers both networks are right almost always and the weight
    would reward the one that memorised more; without any, both networks count alike. A trained
    head has a size of its own: it is trained on augmented training clips and stopped by
    validation speakers, or after its epochs where there are none.
    """
    visual, audio = (run.load(part) for part in MODELS[name].branches)
    model = run.build_trainee(name)
    copy_branches(model, (visual, audio))
    if not run.validates and not MODELS[name].trained_head:
        return model
    head = model.get_layer("head")
    one_frame = MODELS[name].frames == "one"
    val = extract_features(visual, audio, [c for _, c in run.val], one_frame)
    labels = np.array([t.label for t, _ in run.val])
    if MODELS[name].trained_head:
        passes = [
            extract_augmented(visual, audio, run.train_voices, run.config, number)
            for number in range(max(1, stage.passes))
        ]
        for number, seen in enumerate(passes):
            hide_modalities(seen, stage.drop_modality, (run.config.seed, number, 3))
        known = {key: np.concatenate([p[key] for p in passes]) for key in passes[0]}
        truth = np.tile(run.train.labels, len(passes))
    else:
        known, truth = val, labels
    fit_head(run, name, head, stage, (known, truth), (val, labels), MODELS[name].trained_head)
    return model


def fit_head(
    run: Run,
    name: str,
    head: keras.Model,
    stage: StageConfig,
    known: tuple[Features, np.ndarray],
    looked_at: tuple[Features, np.ndarray],
    weighted: bool = True,
) -> None:
    """Train a head on stored features and labels.

    looked_at: of the validation clips, which choose the epoch where there are validation
    speakers. weighted: whether classes are evened out.
    """
    val, labels = looked_at
    checkpoints = run.checkpoints(name)
    data, steps = stream_features(
        *known, stage.batch, run.config.seed, restore(checkpoints, run.replicas), weighted,
        run.replicas.share,
    )  # fmt: skip
    say = run_keras(head)
    fit(
        head,
        data,
        steps,
        stage,
        checkpoints,
        (lambda: softmax(say({k: val[k] for k in head.input})["logits"]))
        if run.validates
        else None,
        labels,
        run.config.seed,
        run.replicas,
        run.config.xla,
    )


def hide_modalities(seen: Features, share: float, seed: tuple[int, ...]) -> None:
    """Take the face from a share of clips that have both, and the voice from as many others.

    So that the head also learns to answer from one alone (Neverova et al. 2015,
    arXiv:1501.00102).
    """
    draws = np.random.default_rng(seed).random(len(seen["has_face"]))
    both = (seen["has_face"][:, 0] > 0) & (seen["has_voice"][:, 0] > 0)
    seen["has_face"][both & (draws < share)] = 0.0
    seen["has_voice"][both & (draws >= share) & (draws < 2 * share)] = 0.0


def extract_features(visual, audio, clips, one_frame: bool) -> Features:
    """Logits and embeddings of both networks for prepared clips, float32 (n_clips, ...)."""
    see, hear = run_keras(visual), run_keras(audio)
    n = len(clips)
    out = _empty(visual, audio, n)
    with Progress("described clips", "clips") as progress:
        for i, stored in enumerate(clips):
            clip = stored.load()
            if clip.face is not None:
                crops = clip.face
                if one_frame:
                    crops = crops[choose_frame(clip.face_found)][None]
                _put(out, "face", i, _see_clip(see, visual, crops.astype(np.float32)))
            if clip.mfcc is not None:
                said = hear({"mfcc": clip.mfcc[None]})
                _put(out, "voice", i, {k: v[0] for k, v in said.items()})
            progress(i + 1, n)
    return out


def _see_clip(see, visual, crops: np.ndarray) -> Features:
    if "face_mask" not in visual.input:
        return {k: v.mean(axis=0) for k, v in see({"face": crops}).items()}
    said = see({"face": crops[None], "face_mask": np.ones((1, len(crops)), np.float32)})
    return {k: v[0] for k, v in said.items()}


def extract_augmented(visual, audio, clips: Clips, config: Any, number: int) -> Features:
    """The same for training clips, each with augmented crops and one altered version."""
    see, hear = run_keras(visual), run_keras(audio)
    rng = np.random.default_rng((config.seed, number, 2))
    out = _empty(visual, audio, len(clips))
    picks = []
    for i in np.flatnonzero(clips.has_face):  # half of a clip's crops: frames get lost in life too
        chosen = rng.permutation(clips.count[i])[: max(1, clips.count[i] // 2)]
        picks.append(clips.first[i] + chosen)
    index, end = _join(picks), 0
    said = _run_batches(
        see,
        "face",
        len(index),
        lambda s: augment_faces(
            clips.faces[index[s]].astype(np.float32), _seed(rng), config.faces
        ).numpy(),
    )
    for i, pick in zip(np.flatnonzero(clips.has_face), picks, strict=True):
        start, end = end, end + len(pick)
        _put(out, "face", int(i), {k: v[start:end].mean(axis=0) for k, v in said.items()})
    version = np.zeros(len(clips), int)
    if clips.n_variants:
        version = rng.integers(0, clips.n_variants, len(clips))

    def fetch(s: slice) -> np.ndarray:  # a batch at a time: all may not fit into memory
        return clips.read_voices(np.arange(len(clips))[s], version[s])

    said = _run_batches(
        hear,
        "mfcc",
        len(clips),
        lambda s: augment_mfcc(fetch(s), _seed(rng), config.mfcc, config.clip.audio).numpy(),
    )
    for i in np.flatnonzero(clips.has_voice):
        _put(out, "voice", int(i), {k: v[i] for k, v in said.items()})
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


def _empty(visual, audio, n: int) -> Features:
    out: Features = {}
    for side, model in (("face", visual), ("voice", audio)):
        for kind in ("logits", "embedding"):
            out[f"{side}_{kind}"] = np.zeros((n, model.output[kind].shape[-1]), np.float32)
        out[f"has_{side}"] = np.zeros((n, 1), np.float32)
    return out


def _put(out: Features, side: str, i: int, said: Features) -> None:
    out[f"{side}_logits"][i], out[f"{side}_embedding"][i] = said["logits"], said["embedding"]
    out[f"has_{side}"][i] = 1.0


def _run_batches(run, name: str, n: int, fetch) -> Features:
    parts = []
    with Progress(f"described training clips: {name}", "items") as progress:
        for i in range(0, n, BATCH):
            parts.append(run({name: fetch(slice(i, min(i + BATCH, n)))}))
            progress(min(i + BATCH, n), n)
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, int)


def _seed(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
