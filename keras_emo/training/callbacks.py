"""What happens after every epoch: validation on clips, checkpoints, early stopping."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.core.errors import EmoError, Reason
from keras_emo.core.metrics import confusion, score
from keras_emo.data.cache import write_json, write_text

SHOWN = ("loss", "val_loss", "val_accuracy", "val_uar")


class ClipValidation(keras.callbacks.Callback):
    """Adds val_loss, val_accuracy and val_uar, per clip, to the epoch's logs.

    answer: gives probabilities (n_clips, 7) of the validation clips as the network stands.
    """

    def __init__(self, answer: Callable[[], np.ndarray], labels: np.ndarray):
        super().__init__()
        self.answer, self.labels = answer, labels

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        probs = self.answer()
        figures = score(confusion(self.labels, probs.argmax(axis=1)))
        picked = probs[np.arange(len(probs)), self.labels]
        if logs is not None:
            logs["val_loss"] = float(-np.log(np.maximum(picked, 1e-7)).mean())
            logs["val_accuracy"], logs["val_uar"] = figures["accuracy"], figures["uar"]


class KeepBest(keras.callbacks.Callback):
    """Saves the last and the best state atomically and stops when nothing improves.

    The best epoch has the highest val_uar, ties broken by the lower val_loss. state.json names
    the file of each and is written after them, so that a kill leaves a pair that fits.
    """

    def __init__(self, folder: Path, patience: int):
        super().__init__()
        self.folder, self.patience = folder, patience
        self.state: dict[str, Any] = {"epoch": -1, "best": None, "best_epoch": -1, "done": False}

    def restore(self) -> int:
        """Take up the state on disk; returns the epoch to go on with (0: from the start)."""
        path = self.folder / "state.json"
        if path.exists():
            self.state = json.loads(path.read_text(encoding="utf-8"))
        return self.state["epoch"] + 1

    @property
    def last_file(self) -> Path:
        return self.folder / f"epoch-{self.state['epoch']:04d}.keras"

    @property
    def best_file(self) -> Path:
        return self.folder / f"epoch-{self.state['best_epoch']:04d}.keras"

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        if not math.isfinite(logs.get("loss", 0.0)):
            cause = f"the loss became {logs['loss']} in epoch {epoch + 1}; last good state kept"
            raise EmoError(self.folder, Reason.NAN_LOSS, cause)
        rank = [logs["val_uar"], -logs["val_loss"]]
        state = {**self.state, "epoch": epoch}
        if state["best"] is None or rank > state["best"]:
            state |= {"best": rank, "best_epoch": epoch}
        save_model(self.model, self.folder / f"epoch-{epoch:04d}.keras")
        self.state = state
        self._write_state()
        for path in self.folder.glob("epoch-*.keras"):
            if path not in (self.last_file, self.best_file):
                path.unlink()
        if epoch - state["best_epoch"] >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.state["done"] = True
        self._write_state()

    def _write_state(self) -> None:
        write_json(self.folder / "state.json", self.state)


class SeedEpochs(keras.callbacks.Callback):
    """Seeds dropout by epoch, so that a resumed run draws what the whole one would have."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for number, layer in enumerate(self.model._flatten_layers()):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                state = np.random.default_rng((self.seed, epoch, number)).integers(0, 2**31, 2)
                generator.state.assign(state)


class EpochLine(keras.callbacks.Callback):
    """Prints a line an epoch, or every so many where epochs are many and short."""

    def __init__(self, stage: str, epochs: int):
        super().__init__()
        self.stage, self.epochs, self.every = stage, epochs, max(1, epochs // 60)
        self.steps, self.train_s = 0, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start_s, self.steps = time.monotonic(), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1
        self.train_s = time.monotonic() - self.start_s  # validation comes after the last one

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        figures = "  ".join(f"{k} {logs[k]:.3f}" for k in SHOWN if logs and k in logs)
        took_s = time.monotonic() - self.start_s
        rate = f"{self.steps / self.train_s:.1f} steps/s" if self.train_s > 0 else ""
        line = f"{self.stage} {epoch + 1}/{self.epochs}  {figures}  {took_s:.1f} s  {rate}"
        print(line.rstrip(), flush=True)


def trim_history(path: Path, epochs: int) -> None:
    """Drop rows of a CSV history beyond the epochs that a checkpoint covers."""
    if path.exists():
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if int(row.split(",")[0]) < epochs]
        write_text(path, "\n".join([head, *kept]) + "\n")


def save_model(model: keras.Model, path: Path) -> None:
    """Write a .keras file in one step: a temporary file in the same folder, then a rename."""
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=".keras", dir=path.parent)
    os.close(handle)
    try:
        model.save(name)
        with open(name, "rb") as f:
            os.fsync(f.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
