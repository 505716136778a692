"""The run folder: its manifest, the split, and the networks trained so far."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import keras

from keras_emo.data.clips import Clips, StoredClip
from keras_emo.data.corpus import Sample
from keras_emo.data.splits import SPLIT_FILE, check_scored, read_split
from keras_emo.errors import Reason, UsageError
from keras_emo.io import (
    digest_text,
    make_folder,
    naming_content,
    read_record,
    sweep_drafts,
    write_json,
    write_text,
)
from keras_emo.metrics import Metrics, format_percent
from keras_emo.networks import MODELS, build, load_weights
from keras_emo.records import write_fields
from keras_emo.training.checkpoint import Checkpoints
from keras_emo.training.config import CONFIG_FILE, RunManifest, TrainConfig, read_manifest
from keras_emo.training.data import Prepared
from keras_emo.training.distributed import Replicas

MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
NOTES_FILE = "training.json"
LOCK_FILE = ".lock"


class Run:
    """A run folder and what has been done in it. lock: held for as long as the run is open."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        prepared: Prepared,
        replicas: Replicas | None = None,
        lock: IO[str] | None = None,
    ):
        self.folder, self.config, self.prepared, self.lock = folder, config, prepared, lock
        self.replicas = replicas or Replicas()
        self._train: Clips | None = None

    @property
    def train(self) -> Clips:
        if self._train is None:
            self._train = self.prepared.training_clips()
        return self._train

    @contextmanager
    def naming_damage(self) -> Iterator[None]:
        """A clip that went bad while it was read is the error, not what tf.data makes of it."""
        try:
            yield
        except Exception as e:
            if self._train is not None and self._train.failure is not None:
                raise self._train.failure from e
            raise

    @property
    def train_voices(self) -> Clips:
        """The training clips with augmented versions of their sound; the coordinator makes them."""
        clips, waves = self.train, self.config.waves
        if clips.variants is None and waves.n_variants:
            self.replicas.on_coordinator(lambda: self.prepared.augment_voices(clips, waves))
            if self.replicas.rank:
                self.prepared.augment_voices(clips, waves)
        return clips

    @cached_property
    def val(self) -> list[tuple[Sample, StoredClip]]:
        return [(s, c) for s, c in self.prepared.clips("val") if c is not None]

    def check_modality(self, name: str, modality: str) -> list[tuple[Sample, StoredClip]]:
        """The validation clips that have a modality, face or voice.

        Raises UsageError where no training or validation clip has it.
        """
        has = self.train.has_face if modality == "face" else self.train.has_voice
        checked = [(s, c) for s, c in self.val if modality in c.modalities]
        if not has.any() or (self.validates and not checked):
            split = "training" if not has.any() else "validation"
            cause = f"stage {name}: no {split} clip has a {modality}"
            raise UsageError(self.prepared.corpus.name, Reason.NO_CLIPS, cause)
        return checked

    @property
    def validates(self) -> bool:
        """Whether there are validation speakers."""
        return bool(self.prepared.split.val)

    def build(self, name: str) -> keras.Model:
        """The network, untrained. Raises UsageError for a setting that it cannot be built with."""
        try:
            return build(name, self.config.preset, self.config.model, self.config.clip)
        except (TypeError, ValueError) as e:
            if not self.config.model:
                raise
            what = (str(e).splitlines() or [type(e).__name__])[0]
            cause = f"{name} cannot be built with its settings: {what}"
            raise UsageError(f"[model.{name}]", Reason.BAD_CONFIG, cause) from e

    def build_trainee(self, name: str) -> keras.Model:
        """The network as it is trained: on all replicas, in the precision asked for."""
        with self.replicas.strategy.scope(), using_precision(self.config.mixed_precision):
            return self.build(name)

    def finalize(self, name: str, model: keras.Model) -> keras.Model:
        """A trainee as it is saved: float32 and of one process, with the same weights."""
        if not self.replicas.many and not self.config.mixed_precision:
            return model
        plain = self.build(name)
        plain.set_weights(model.get_weights())
        return plain

    def restore(self, name: str) -> tuple[Checkpoints, int]:
        """States of a stage's training with this seed and split; the epoch to continue with.

        Restored in every worker, by the coordinator first.
        """
        identity = {"seed": self.config.seed, "split": self.prepared.split.digest()}
        checkpoints = Checkpoints(self.folder / name, identity)
        self.replicas.on_coordinator(lambda: checkpoints.restore() and None)
        if self.replicas.rank:
            checkpoints.restore()
        return checkpoints, checkpoints.state.epoch + 1

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep what only training knows of a network, for when it is evaluated."""
        write_json(self.folder / name / NOTES_FILE, facts)

    def noted(self, name: str) -> dict[str, Any]:
        """What was kept. Raises UsageError where it is damaged."""
        path = self.folder / name / NOTES_FILE
        notes = read_record(path)
        with naming_content(path, f"delete {name}/ and train it again"):
            float(notes["minutes"])
        return notes

    def load(self, name: str) -> keras.Model:
        """The trained network of a finished stage. Raises UsageError where it is missing."""
        path = self.folder / name / MODEL_FILE
        if not path.exists():
            cause = f"stage {name} has not been trained; add it to the stages"
            raise UsageError(path, Reason.MISSING_STAGE, cause)
        model = self.build(name)
        load_weights(model, path, f"delete {name}/ and train it again")
        return model


def open_run(
    folder: Path,
    config: TrainConfig,
    prepared: Prepared,
    start: Mapping[str, str] | None = None,
    replicas: Replicas | None = None,
) -> Run:
    """Create a run folder, or resume the one that is there, and hold its lock.

    config.json and split.json are written first. start: what the first stage starts from, as
    digests. Raises UsageError where the folder holds a run with other settings (stages aside),
    other clips or another start, or is in use; EnvironmentFailure where it cannot be written.
    """
    check_models(config)
    if config.xla and replicas is not None and replicas.many:
        cause = "XLA compiles the step of one replica, not together with --distribute"
        raise UsageError("--xla", Reason.BAD_CONFIG, cause)
    make_folder(folder)
    run = Run(folder, config, prepared, replicas, hold(folder))
    manifest = RunManifest(
        config, prepared.split, prepared.corpus.name, digest_clips(prepared), start or {}
    )
    if (folder / CONFIG_FILE).exists():
        there = read_manifest(folder, "name another run folder")
        if different := there.list_differences(manifest):
            cause = f"the folder holds a run with other settings: {'; '.join(different)}"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        manifest = there.extend(manifest)
    sweep_drafts(folder)
    write_json(folder / CONFIG_FILE, write_fields(manifest))
    split = {**prepared.split.to_dict(), "digest": prepared.split.digest()}
    write_json(folder / SPLIT_FILE, split)
    failures = [
        {"path": f.path, "reason": str(f.reason), "cause": f.cause} for f in prepared.cache.failures
    ]
    write_json(folder / "failed_clips.json", failures)
    return run


def hold(folder: Path) -> IO[str]:
    """Lock the run folder for this process; the system unlocks it when the process ends.

    Raises UsageError where another process holds it.
    """
    lock = open(folder / LOCK_FILE, "w")  # noqa: SIM115  # open for as long as the run is
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(folder, Reason.BAD_CONFIG, "another process trains in it") from None
    return lock


@contextmanager
def using_precision(kind: str) -> Iterator[None]:
    """Networks built inside the block compute in bfloat16 or float16 and keep float32 weights.

    kind: one of config.PRECISIONS; "" changes nothing. bfloat16 has float32's range and needs no
    scaling of the loss: GPUs since 2020 and some CPUs compute it. Older GPUs have float16 only,
    for which Keras scales the loss.
    """
    before = keras.config.dtype_policy()
    if kind:
        keras.config.set_dtype_policy(f"mixed_{kind}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_models(config: TrainConfig) -> None:
    """Raise UsageError for a setting that a network lacks, or that does nothing for it."""
    for name, settings in config.model.items():
        try:
            MODELS[name].settings(config.preset, **settings)
        except (KeyError, TypeError) as e:
            raise UsageError(f"[model.{name}]", Reason.BAD_CONFIG, str(e.args[0])) from None
    for name in config.stages:
        entry = MODELS.get(name)
        if entry and (entry.branches or entry.backbone) and config.of_stage(name).contrast:
            cause = "contrast is for networks that are built on no others"
            raise UsageError(f"[stage.{name}]", Reason.BAD_CONFIG, cause)


def digest_clips(prepared: Prepared) -> str:
    """Sixteen hex digits of which clips, by content, were prepared."""
    names = [f"{sample} {path.name}" for sample, path in sorted(prepared.cache.files.items())]
    return digest_text("\n".join(names))[:16]


def summarize(folder: Path) -> str:
    """Write summary.json and summary.md, a row for each network evaluated so far; the Markdown.

    Raises UsageError for a split.json or a metrics.json that is damaged.
    """
    rows: dict[str, Any] = {}
    lines = [
        "| network | split | accuracy % (95 %) | UAR % | macro-F1 % | parameters | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    split = read_split(folder / SPLIT_FILE)
    for name in MODELS:
        path = folder / name / METRICS_FILE
        if path.exists():
            rows[name] = read_record(path)
            with naming_content(path, f"delete {name}/ and train it again"):
                check_scored(rows[name], split)
                lines += _format_rows(name, rows[name])
    text = "\n".join(lines) + "\n"
    write_json(folder / "summary.json", rows)
    write_text(folder / "summary.md", text)
    return text


def _format_rows(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Accuracy with its interval over speakers, UAR, macro-F1, size, time; val and test."""
    for split in [s for s in ("val", "test") if s in row]:
        metrics = Metrics.from_dict(row[split])
        shown = f"{split}, fitted" if split == "val" and row.get("fitted_on_val") else split
        yield (
            f"| {name} | {shown} | {metrics} "
            f"| {format_percent(metrics.uar)} | {format_percent(metrics.macro_f1)} "
            f"| {row['parameters']:,} | {row['minutes']:.1f} |"
        )
