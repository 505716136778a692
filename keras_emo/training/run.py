"""The run folder: what was asked, the split, and the networks trained so far."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import keras

from keras_emo.core.clip import ClipInputs
from keras_emo.core.errors import EnvironmentFailure, Reason, UsageError
from keras_emo.data.files import read_json, sweep_drafts, write_json
from keras_emo.data.pipeline import Clips
from keras_emo.data.takes import Take
from keras_emo.models.registry import MODELS, build_model
from keras_emo.training.checkpoint import Checkpoints
from keras_emo.training.config import TrainConfig
from keras_emo.training.data import Prepared, write_failures

MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
NOTES_FILE = "training.json"


class Run:
    """A run folder and what has been done in it."""

    def __init__(self, folder: Path, config: TrainConfig, prepared: Prepared):
        self.folder, self.config, self.prepared = folder, config, prepared
        self._train: Clips | None = None
        self._val: list[tuple[Take, ClipInputs]] | None = None
        self.lock: IO[str] | None = None

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
        return build_model(name, self.config.preset, self.config.model, self.config.clip)

    def checkpoints(self, name: str) -> Checkpoints:
        """States of a stage's training, of this seed and split only."""
        identity = {"seed": self.config.seed, "split": self.prepared.split.digest()}
        return Checkpoints(self.folder / name, identity)

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep what only training knows of a network, for when it is scored."""
        write_json(self.folder / name / NOTES_FILE, facts)

    def noted(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name / NOTES_FILE).read_text(encoding="utf-8"))

    def load(self, name: str) -> keras.Model:
        """The trained network of a finished stage. Raises UsageError where it is missing."""
        path = self.folder / name / MODEL_FILE
        if not path.exists():
            cause = f"stage {name} has not been trained; add it to the stages"
            raise UsageError(path, Reason.MISSING_STAGE, cause)
        model = self.build(name)
        try:
            model.load_weights(path)
        except (ValueError, OSError, KeyError, BadZipFile) as e:
            cause = f"damaged or of another network ({str(e).splitlines()[0]}); delete {name}/"
            raise UsageError(path, Reason.UNREADABLE, f"{cause} and train it again") from e
        return model


def open_run(
    folder: Path, config: TrainConfig, prepared: Prepared, start: dict[str, Any] | None = None
) -> Run:
    """Create a run folder, or take up the one that is there.

    config.json and split.json are written first. start: what the first stage begins with, as
    digests. Raises UsageError where the folder holds a run with other settings (stages aside),
    other clips or another start, or is in use; EnvironmentFailure where it cannot be written.
    """
    check_models(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentFailure(folder, Reason.WRITE_FAILED, e.strerror or str(e)) from e
    lock = _lock(folder)
    asked: dict[str, Any] = {
        "config": config.to_dict(),
        "split": prepared.split.to_dict(),
        "corpus": prepared.corpus.name,
        "clips": digest_clips(prepared),
        "start": start or {},
    }
    path = folder / "config.json"
    if path.exists():
        there = read_json(path)
        different = _differences(_comparable(there), _comparable(asked))
        if different:
            cause = f"the folder holds a run with other settings: {'; '.join(different)}"
            raise UsageError(folder, Reason.BAD_CONFIG, cause)
        stages = {**there["config"]["stage"], **asked["config"]["stage"]}
        asked["config"]["stage"] = stages
        asked["config"]["stages"] = list(stages)
    sweep_drafts(folder)
    write_json(path, asked)
    split = {**prepared.split.to_dict(), "digest": prepared.split.digest()}
    write_json(folder / "split.json", split)
    write_failures(prepared.cache.failures, folder / "failed_clips.json")
    run = Run(folder, config, prepared)
    run.lock = lock
    return run


def check_models(config: TrainConfig) -> None:
    """Raise UsageError for a setting that a network lacks."""
    for name, settings in config.model.items():
        try:
            MODELS[name].settings(config.preset, **settings)
        except (KeyError, TypeError) as e:
            raise UsageError(f"[model.{name}]", Reason.BAD_CONFIG, str(e.args[0])) from None


def _lock(folder: Path) -> IO[str]:
    """Hold the run folder for this process; the system lets go when the process ends."""
    lock = open(folder / ".lock", "w")  # noqa: SIM115  # open for as long as the run is
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(folder, Reason.BAD_CONFIG, "another process trains in it") from None
    return lock


def digest_clips(prepared: Prepared) -> str:
    """Sixteen hex digits of which clips, by content, were prepared."""
    names = [f"{take} {path.name}" for take, path in sorted(prepared.cache.files.items())]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


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
