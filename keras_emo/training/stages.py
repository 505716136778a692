"""The two stages: each modality's network first, then the fusions built on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.core.clip import ClipInputs
from keras_emo.core.errors import EnvironmentFailure, Reason, UsageError
from keras_emo.core.inputs import answer_clips
from keras_emo.data.cache import write_atomic
from keras_emo.data.pipeline import Clips, stream_faces, stream_voices
from keras_emo.data.takes import Take
from keras_emo.models.registry import MODELS, ModelEntry, build_model
from keras_emo.training import features
from keras_emo.training.callbacks import (
    ClipValidation,
    EpochLine,
    KeepBest,
    SeedEpochs,
    save_model,
)
from keras_emo.training.config import FUSIONS, PRETRAIN, StageConfig, TrainConfig
from keras_emo.training.data import Prepared, write_failures
from keras_emo.training.evaluate import (
    answer_part,
    draw_curves,
    report_part,
    run_keras,
    write_predictions,
    write_report,
)
from keras_emo.training.pretrain import pretrain_visual

MODEL_FILE = "model.keras"


class Run:
    """A run folder and what has been done in it."""

    def __init__(self, folder: Path, config: TrainConfig, prepared: Prepared):
        self.folder, self.config, self.prepared = folder, config, prepared
        self._train: Clips | None = None
        self._val: list[tuple[Take, ClipInputs]] | None = None

    @property
    def train(self) -> Clips:
        if self._train is None:
            self._train = self.prepared.training_clips()
        return self._train

    @property
    def train_voices(self) -> Clips:
        """The training clips with altered versions of their sound."""
        if self.train.variants is None and self.config.waves.n_variants:
            self.prepared.alter_voices(self.train, self.config.waves)
        return self.train

    @property
    def val(self) -> list[tuple[Take, ClipInputs]]:
        if self._val is None:
            self._val = [(t, c) for t, c in self.prepared.clips("val") if c is not None]
        return self._val

    def build(self, name: str) -> keras.Model:
        return build_model(name, self.config.preset, self.config.model)

    def load(self, name: str) -> keras.Model:
        """The trained network of a finished stage. Raises UsageError where it is missing."""
        path = self.folder / name / MODEL_FILE
        if not path.exists():
            cause = f"stage {name} has not been trained; add it to the stages"
            raise UsageError(path, Reason.MISSING_STAGE, cause)
        model = self.build(name)
        model.load_weights(path)
        return model


def open_run(folder: Path, config: TrainConfig, prepared: Prepared) -> Run:
    """Create a run folder, or take up the one that is there.

    config.json and split.json are written first. Raises UsageError where the folder holds a run
    with other settings (stages aside), EnvironmentFailure where it cannot be written.
    """
    for name, settings in config.model.items():
        try:
            MODELS[name].settings(config.preset, **settings)
        except KeyError as e:
            raise UsageError(f"[model.{name}]", Reason.BAD_CONFIG, e.args[0]) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    asked: dict[str, Any] = {
        "config": config.to_dict(),
        "split": prepared.split.to_dict(),
        "corpus": prepared.corpus.name,
    }
    path = folder / "config.json"
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        different = _differences(_comparable(there), _comparable(asked))
        if different:
            cause = f"the folder holds a run with other settings: {'; '.join(different)}"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        stages = {**there["config"]["stage"], **asked["config"]["stage"]}
        asked["config"]["stage"] = stages
        asked["config"]["stages"] = list(stages)
    text = json.dumps(asked, indent=1).encode()
    write_atomic(path, lambda f: f.write(text))
    split = {**prepared.split.to_dict(), "digest": prepared.split.digest()}
    (folder / "split.json").write_text(json.dumps(split, indent=1), encoding="utf-8")
    write_failures(prepared.cache.failures, folder / "failed_clips.json")
    return Run(folder, config, prepared)


def _comparable(asked: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", asked)
    return {k: v for k, v in flat.items() if k != "config.stages"}


def _differences(there: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    shared = [k for k in there if k in asked or not k.startswith("config.stage.")]
    return [
        f"{k} is {there[k]!r}, asked {asked.get(k)!r}" for k in shared if there[k] != asked.get(k)
    ]


def train_stages(
    run: Run, init_from: Path | None = None, pretrain_data: Path | None = None
) -> dict[str, Any]:
    """Train every stage of the config that is not finished; returns metrics by network.

    init_from: a .keras file whose weights the visual net starts from. pretrain_data: a folder
    of class-named folders of face pictures for the pretrain stage.
    """
    keras.utils.set_random_seed(run.config.seed)
    if run.config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    for name in run.config.stages:
        done = (run.folder / name / MODEL_FILE).exists()
        if name == PRETRAIN:
            if pretrain_data is None:
                cause = "the pretrain stage needs --pretrain-data"
                raise UsageError(run.folder, Reason.BAD_CONFIG, cause)
            if not done:
                pretrain_visual(run, pretrain_data, init_from)
        elif not done or not (run.folder / name / "metrics.json").exists():
            train_network(run, name, init_from)
    return summarise(run)


def train_network(run: Run, name: str, init_from: Path | None = None) -> None:
    """Train one network, keep its best epoch as model.keras, score it on val and test."""
    folder = run.folder / name
    folder.mkdir(exist_ok=True)
    started_s = time.monotonic()
    stage = run.config.of_stage(name)
    entry = MODELS[name]
    if name in FUSIONS:
        model = features.train_fusion(run, name, folder, stage)
    else:
        model = run.build(name)
        if name == "visual_alexnet":
            _start_from(model, run, init_from)
        fit_part(run, model, entry, folder, stage)
    save_model(model, folder / MODEL_FILE)
    for path in folder.glob("epoch-*.keras"):  # model.keras now holds the best of them
        path.unlink()
    score_network(run, name, model, round((time.monotonic() - started_s) / 60, 2))


def _start_from(model: keras.Model, run: Run, init_from: Path | None) -> None:
    pretrained = run.folder / PRETRAIN / MODEL_FILE
    if pretrained.exists():
        model.load_weights(pretrained)
    elif init_from is not None:
        load_initial(model, init_from)


def load_initial(model: keras.Model, path: Path) -> None:
    """Weights from a .keras file of the same network. Raises UsageError where they do not fit."""
    if not path.is_file():
        raise UsageError(path, Reason.NOT_FOUND, "no such weights file")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as e:
        first = str(e).strip().splitlines()[0]
        raise UsageError(path, Reason.BAD_CONFIG, f"the weights do not fit: {first}") from e


def fit_part(
    run: Run, model: keras.Model, entry: ModelEntry, folder: Path, stage: StageConfig
) -> None:
    """Train a network of one modality on augmented training clips."""
    config = run.config
    keep = KeepBest(folder, stage.patience)
    first = keep.restore()
    if entry.modalities == ("face",):
        data, steps = stream_faces(
            run.train, stage.batch, config.seed, stage.crops_a_clip, config.faces, first
        )
    else:
        clips = run.train_voices
        data, steps = stream_voices(clips, stage.batch, config.seed, config.mfcc, first)
        if not first:
            norm = model.get_layer("mfcc_norm")
            norm.adapt(clips.mfcc[clips.has_voice])
    clips_to_check = [(t, c) for t, c in run.val if set(entry.modalities) & set(c.modalities)]
    answer = follow_answers(model, entry, [c for _, c in clips_to_check], config.clip)
    labels = np.array([t.label for t, _ in clips_to_check])
    fit(model, data, steps, stage, folder, keep, answer, labels, config.seed)


def follow_answers(model, entry, clips, spec) -> Callable[[], np.ndarray]:
    run = run_keras(model)
    return lambda: answer_clips(run, clips, entry.inputs, entry.frames, spec)


def fit(
    model: keras.Model,
    data: Any,
    steps: int,
    stage: StageConfig,
    folder: Path,
    keep: KeepBest,
    answer: Callable[[], np.ndarray],
    labels: np.ndarray,
    seed: int,
) -> None:
    """Model.fit with this project's callbacks; leaves the best epoch's weights in the model."""
    compile_model(model, stage, steps)
    first = keep.state["epoch"] + 1
    if first:
        loaded = keras.saving.load_model(keep.last_file)
        model.set_weights(loaded.get_weights())
        model.optimizer.build(model.trainable_variables)
        for mine, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            mine.assign(theirs)
        print(f"{folder.name}: resumed after epoch {first}", flush=True)
    if first < stage.epochs and not keep.state["done"]:
        model.fit(
            data,
            steps_per_epoch=steps,
            initial_epoch=first,
            epochs=stage.epochs,
            verbose=0,
            shuffle=False,  # the stream is shuffled already
            callbacks=[
                SeedEpochs(seed),
                ClipValidation(answer, labels),
                keras.callbacks.CSVLogger(str(folder / "history.csv"), append=first > 0),
                keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
                EpochLine(folder.name, stage.epochs),
                keep,
            ],
        )
    model.load_weights(keep.best_file)
    draw_curves(folder / "history.csv", folder / "curves.png")


def compile_model(model: keras.Model, stage: StageConfig, steps: int) -> None:
    """AdamW with warm-up and cosine decay; cross-entropy on logits, never on probabilities."""
    warmup = min(steps, stage.epochs * steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / 10 if warmup else stage.learning_rate,
        decay_steps=max(1, stage.epochs * steps - warmup),
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=stage.weight_decay, global_clipnorm=stage.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=stage.label_smoothing
    )
    model.compile(optimizer, loss={"logits": loss}, jit_compile=False)


def score_network(run: Run, name: str, model: keras.Model, minutes: float) -> None:
    """Write metrics.json, predictions and pictures of a trained network."""
    folder = run.folder / name
    results: dict[str, Any] = {
        "model": name,
        "preset": run.config.preset,
        "corpus": run.prepared.corpus.name,
        "parameters": model.count_params(),
        "minutes": minutes,
        "seed": run.config.seed,
        "split": run.prepared.split.digest(),
    }
    for part in ("val", "test"):
        clips = run.prepared.clips(part)
        if clips:
            probs = answer_part(model, MODELS[name], clips, run.config.clip)
            results[part] = report_part(clips, probs)
            write_predictions(clips, probs, folder / f"predictions_{part}.csv")
    write_report(results, folder)


def summarise(run: Run) -> dict[str, Any]:
    """summary.json and summary.md: a line for each network scored so far."""
    rows: dict[str, Any] = {}
    for name in MODELS:
        path = run.folder / name / "metrics.json"
        if path.exists():
            rows[name] = json.loads(path.read_text(encoding="utf-8"))
    write_atomic(
        run.folder / "summary.json", lambda f: f.write(json.dumps(rows, indent=1).encode())
    )
    text = format_summary(rows)
    (run.folder / "summary.md").write_text(text, encoding="utf-8")
    return rows


def format_summary(rows: dict[str, Any]) -> str:
    """A Markdown table: accuracy with its interval over speakers, UAR, macro-F1, size, time."""
    lines = [
        "| network | part | accuracy % (95 %) | UAR % | macro-F1 % | parameters | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        for part in ("val", "test"):
            if part not in row:
                continue
            figures = row[part]
            low, high = (100 * v for v in figures["interval_95"]["accuracy"])
            lines.append(
                f"| {name} | {part} | {100 * figures['accuracy']:.1f} ({low:.1f} to {high:.1f}) "
                f"| {100 * figures['uar']:.1f} | {100 * figures['macro_f1']:.1f} "
                f"| {row['parameters']:,} | {row['minutes']:.1f} |"
            )
    return "\n".join(lines) + "\n"
