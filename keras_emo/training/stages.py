"""The two stages: each modality's network first, then the fusions built on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.data.pipeline import Schedule, stream_faces, stream_voices
from keras_emo.errors import Reason, UsageError
from keras_emo.inference.batch import predict_clips
from keras_emo.io import digest_text, naming_content, read_record, write_json
from keras_emo.metrics import measure
from keras_emo.networks import MODELS, ModelEntry, load_weights
from keras_emo.training import features
from keras_emo.training.callbacks import save_model
from keras_emo.training.checkpoint import drop_checkpoints
from keras_emo.training.config import PRETRAIN, StageConfig
from keras_emo.training.evaluate import draw_confusion, predict_split, run_keras, write_predictions
from keras_emo.training.fit import copy_branches, fit
from keras_emo.training.pretrain import pretrain_visual
from keras_emo.training.run import METRICS_FILE, MODEL_FILE, Run


def train_stages(
    run: Run,
    init_from: Path | None = None,
    pretrain_data: Path | None = None,
    stages: Sequence[str] | None = None,
) -> None:
    """Train every stage of the config, or of stages, that is not finished.

    init_from: a .keras file whose weights the face network starts from. pretrain_data: a folder of
    face pictures, sorted into folders by class, for the pretrain stage.
    """
    if run.config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    for name in run.config.stages if stages is None else stages:
        if run.replicas.on_coordinator(partial(_is_finished, run.folder / name)):
            continue
        # by stage: one that is trained alone or resumed starts as in an uninterrupted run
        keras.utils.set_random_seed(int(digest_text(f"{run.config.seed}/{name}")[:7], 16))
        if name == PRETRAIN:
            if pretrain_data is None:
                cause = "the pretrain stage needs --pretrain-data"
                raise UsageError(run.folder, Reason.BAD_CONFIG, cause)
            pretrain_visual(run, pretrain_data, init_from)
        else:
            with run.naming_damage():
                train_network(run, name, init_from)


def check_starts(run: Run, init_from: Path | None) -> None:
    """Raise UsageError where a network would use a backbone that was not pretrained."""
    for name in run.config.stages:
        backbone = MODELS[name].backbone if name in MODELS else ""
        if backbone and PRETRAIN not in run.config.stages and _find_start(run, init_from) is None:
            cause = (
                f"{name} needs a {backbone} that is pretrained on other faces: give pictures with "
                "--pretrain-data, or weights with --init-from"
            )
            raise UsageError(f"stage {name}", Reason.BAD_CONFIG, cause)


def _is_finished(folder: Path) -> bool:
    if not (folder / METRICS_FILE).exists():
        return False
    drop_checkpoints(folder)  # the last thing a kill may have left undone
    return True


def train_network(run: Run, name: str, init_from: Path | None = None) -> None:
    """Train one network, keep its best epoch as model.keras, evaluate it on val and test.

    metrics.json is written last and marks the stage as finished.
    """
    folder, replicas = run.folder / name, run.replicas

    def begin() -> bool:
        folder.mkdir(exist_ok=True)
        return (folder / MODEL_FILE).exists()  # stopped while it was evaluated

    trained = None if replicas.on_coordinator(begin) else _train(run, name, init_from)

    def finish() -> None:
        model = run.load(name) if trained is None else run.finalize(name, trained)
        if trained is not None:
            save_model(model, folder / MODEL_FILE)
        evaluate_network(run, name, model)
        drop_checkpoints(folder)  # model.keras holds the best of them

    replicas.on_coordinator(finish)


def _train(run: Run, name: str, init_from: Path | None) -> keras.Model:
    started_s = time.monotonic()
    stage = run.config.of_stage(name)
    facts: dict[str, Any] = {}
    if MODELS[name].is_fusion:
        model = features.train_fusion(run, name, stage)
        facts["fitted_on_val"] = run.validates and not MODELS[name].trained_head
    elif MODELS[name].branches:  # an average: nothing to train
        model = run.build_trainee(name)
        copy_branches(model, [run.load(branch) for branch in MODELS[name].branches])
    elif MODELS[name].backbone:
        start = _find_start(run, init_from)
        assert start is not None  # see check_starts
        model = features.train_clip_head(run, MODELS[name], stage, start)
        facts["pretrained"] = _name_source(start)
    else:
        model = run.build_trainee(name)
        if MODELS[name].modalities == ("face",):
            start = _find_start(run, init_from)
            if start is not None:
                load_weights(model, start)
            facts["pretrained"] = _name_source(start)
        fit_modality(run, model, MODELS[name], stage)
    minutes = round((time.monotonic() - started_s) / 60, 2)
    run.replicas.on_coordinator(lambda: run.note(name, {**facts, "minutes": minutes}))
    return model


def _find_start(run: Run, init_from: Path | None) -> Path | None:
    """The weights that a face network starts from: the pretrain stage's, else the given ones."""
    pretrained = run.folder / PRETRAIN
    return pretrained / MODEL_FILE if (pretrained / METRICS_FILE).exists() else init_from


def _name_source(start: Path | None) -> str | None:
    """What such weights were trained on, where that is known."""
    if start is None:
        return None
    beside = start.with_name(METRICS_FILE)
    known = read_record(beside) if beside.exists() else {}
    if "source" in known:
        with naming_content(beside):
            return f"{known['n_train']} pictures of {known['source']}"
    return f"the weights in {start.name}"


def fit_modality(run: Run, model: keras.Model, entry: ModelEntry, stage: StageConfig) -> None:
    """Train a network of one modality on augmented training clips.

    Raises UsageError where no training or validation clip has the modality.
    """
    config = run.config
    (modality,) = entry.modalities
    checked = run.check_modality(entry.name, modality)
    checkpoints, first = run.restore(entry.name)
    schedule = Schedule(stage.batch, config.seed, first, run.replicas.share)
    if modality == "face":
        data, steps = stream_faces(run.train, schedule, stage.crops_a_clip, config.faces)
    else:
        clips = run.train_voices
        changes = config.mfcc_of(entry.name)
        data, steps = stream_voices(clips, schedule, changes, config.clip.audio)
        if not first:
            model.get_layer("mfcc_norm").adapt(clips.sample_voices())
    forward, spec = run_keras(model), config.clip  # with the weights of the moment

    def predict() -> np.ndarray:
        ready = (clip.load() for _, clip in checked)
        return predict_clips(forward, ready, entry.inputs, entry.frames, spec)

    labels = np.array([sample.label for sample, _ in checked])
    fit(run, checkpoints, model, data, steps, predict if run.validates else None, labels)


def evaluate_network(run: Run, name: str, model: keras.Model) -> None:
    """Write predictions, pictures and, last, metrics.json of a trained network."""
    folder = run.folder / name
    results: dict[str, Any] = {
        "model": name,
        "preset": run.config.preset,
        "corpus": run.prepared.corpus.name,
        "parameters": model.count_params(),
        "seed": run.config.seed,
        "split": run.prepared.split.digest(),
        **run.noted(name),
    }
    for split in ("val", "test"):
        clips = run.prepared.clips(split)
        if clips:
            probs = predict_split(run_keras(model), MODELS[name], clips, run.config.clip)
            samples = [sample for sample, _ in clips]
            speakers, genders = [s.speaker for s in samples], [s.gender for s in samples]
            metrics = measure(np.array([s.label for s in samples]), probs, speakers, genders)
            write_predictions(clips, probs, folder / f"predictions_{split}.csv")
            draw_confusion(metrics, f"{name}, {split}", folder / f"confusion_{split}.png")
            results[split] = metrics.to_dict()
    write_json(folder / METRICS_FILE, results)
