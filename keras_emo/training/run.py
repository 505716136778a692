"""The run folder: what was asked, the split, and the networks trained so far."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import keras

from keras_emo.data.clips import Clips, StoredClip
from keras_emo.data.corpus import Sample
from keras_emo.data.splits import SPLIT_FILE
from keras_emo.errors import EnvironmentFailure, Reason, UsageError
from keras_emo.io import naming_content, read_record, sweep_drafts, write_json
from keras_emo.networks import MODELS, build, load_weights
from keras_emo.training.checkpoint import Checkpoints
from keras_emo.training.config import TrainConfig
from keras_emo.training.data import Prepared, write_failures
from keras_emo.training.distributed import Crew
from keras_emo.training.lock import await_mark, hold, leave_mark
from keras_emo.training.manifest import CONFIG_FILE, RunManifest, read_manifest
from keras_emo.training.precision import using_precision

MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
NOTES_FILE = "training.json"


class Run:
    """A run folder and what has been done in it."""

    def __init__(
        self, folder: Path, config: TrainConfig, prepared: Prepared, crew: Crew | None = None
    ):
        self.folder, self.config, self.prepared = folder, config, prepared
        self.crew = crew or Crew()
        self._train: Clips | None = None
        self._val: list[tuple[Sample, StoredClip]] | None = None
        self.lock: IO[str] | None = None

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
        """The training clips with altered versions of their sound."""
        if self.train.variants is None and self.config.waves.n_variants:
            self.crew.team.run_coordinator_first(
                lambda: self.prepared.augment_voices(self.train, self.config.waves)
            )
        return self.train

    @property
    def val(self) -> list[tuple[Sample, StoredClip]]:
        if self._val is None:
            self._val = [(t, c) for t, c in self.prepared.clips("val") if c is not None]
        return self._val

    def check_modality(self, name: str, modality: str) -> list[tuple[Sample, StoredClip]]:
        """The validation clips that have a modality, face or voice.

        Raises UsageError where no training or validation clip has it.
        """
        has = self.train.has_face if modality == "face" else self.train.has_voice
        checked = [(t, c) for t, c in self.val if modality in c.modalities]
        if not has.any() or (self.validates and not checked):
            part = "training" if not has.any() else "validation"
            cause = f"stage {name}: no {part} clip has a {modality}"
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
        """The network as it is trained: on the crew's replicas, in the precision asked for."""
        with self.crew.strategy.scope(), using_precision(self.config.mixed_precision):
            return self.build(name)

    def settle(self, name: str, model: keras.Model) -> keras.Model:
        """A trainee as it is saved: float32 and of one process, with the same weights."""
        if not self.crew.many and not self.config.mixed_precision:
            return model
        plain = self.build(name)
        plain.set_weights(model.get_weights())
        return plain

    def checkpoints(self, name: str) -> Checkpoints:
        """States of a stage's training, of this seed and split only."""
        identity = {"seed": self.config.seed, "split": self.prepared.split.digest()}
        return Checkpoints(self.folder / name, identity)

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep what only training knows of a network, for when it is scored."""
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
    start: dict[str, Any] | None = None,
    crew: Crew | None = None,
) -> Run:
    """Create a run folder, or take up the one that is there; of several workers the chief does.

    config.json and split.json are written first. start: what the first stage begins with, as
    digests. Raises UsageError where the folder holds a run with other settings (stages aside),
    other clips or another start, is in use, or is not the chief's; EnvironmentFailure where it
    cannot be written.
    """
    check_models(config)
    run = Run(folder, config, prepared, crew)
    if config.xla and run.crew.many:
        cause = "XLA compiles the step of one replica, not together with --distribute"
        raise UsageError("--xla", Reason.BAD_CONFIG, cause)
    asked = RunManifest(
        config, prepared.split, prepared.corpus.name, digest_clips(prepared), start or {}
    )
    team = run.crew.team

    def create() -> list[Any]:
        run.lock = _create(folder, asked, prepared)
        return [asked.to_dict(), leave_mark(run.lock)]

    theirs, mark = team.run_on_coordinator(create)

    def join() -> None:
        different = RunManifest.from_dict(theirs).list_differences(asked)
        if different:
            who = f"worker {team.number} of {team.size}"
            cause = f"started with other settings than the chief: {'; '.join(different)}"
            raise UsageError(who, Reason.BAD_CONFIG, cause)
        if not team.is_coordinator:
            await_mark(folder, mark, team.number)

    team.agree(join)
    return run


def _create(folder: Path, asked: RunManifest, prepared: Prepared) -> IO[str]:
    """Write what a run is made of, unless the folder holds another; returns its lock, held."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    lock = hold(folder)
    if (folder / CONFIG_FILE).exists():
        there = read_manifest(folder, "name another run folder")
        if different := there.list_differences(asked):
            cause = f"the folder holds a run with other settings: {'; '.join(different)}"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        asked = there.extend(asked)
    sweep_drafts(folder)
    write_json(folder / CONFIG_FILE, asked.to_dict())
    split = {**prepared.split.to_dict(), "digest": prepared.split.digest()}
    write_json(folder / SPLIT_FILE, split)
    write_failures(prepared.cache.failures, folder / "failed_clips.json")
    return lock


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
            cause = "contrast is for networks that stand on no others"
            raise UsageError(f"[stage.{name}]", Reason.BAD_CONFIG, cause)


def digest_clips(prepared: Prepared) -> str:
    """Sixteen hex digits of which clips, by content, were prepared."""
    names = [f"{sample} {path.name}" for sample, path in sorted(prepared.cache.files.items())]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
