"""Callbacks of the training loop: validation on clips, checkpoints, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_emo.errors import EmoError, Reason
from keras_emo.io import open_draft
from keras_emo.metrics import score
from keras_emo.progress import Progress
from keras_emo.training.checkpoint import Arrays, Checkpoints
from keras_emo.training.config import StageConfig
from keras_emo.training.distributed import Replicas, walk_layers
from keras_emo.training.interrupt import check_stopped

SHOWN = ("loss", "val_loss", "val_accuracy", "val_uar")


class ClipValidation(keras.callbacks.Callback):
    """Adds val_loss, val_accuracy and val_uar, per clip, to the epoch's logs.

    predict: gives probabilities (n_clips, 7) of the validation clips by the current weights.
    """

    def __init__(self, predict: Callable[[], np.ndarray], labels: np.ndarray):
        super().__init__()
        self.predict, self.labels = predict, labels

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        probs = self.predict()
        scores = score(self.labels, probs.argmax(axis=1))
        picked = probs[np.arange(len(probs)), self.labels]
        if logs is not None:
            logs["val_loss"] = float(-np.log(np.maximum(picked, 1e-7)).mean())
            logs["val_accuracy"], logs["val_uar"] = scores.accuracy, scores.uar


class KeepBest(keras.callbacks.Callback):
    """Saves the state after every epoch and stops when nothing improves.

    The best epoch has the highest val_uar, ties broken by the lower val_loss; without validation
    it is the last. Only finite states are kept: raises EmoError for a loss, a score or a weight
    that is not.
    """

    def __init__(self, checkpoints: Checkpoints, stage: StageConfig):
        super().__init__()
        self.checkpoints, self.stage = checkpoints, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        check_stopped()
        scores = {key: float(value) for key, value in (logs or {}).items()}
        arrays, state = read_arrays(self.model), self.checkpoints.state
        self._refuse_infinite(epoch, scores, arrays)
        validated = "val_uar" in scores
        rank = [scores["val_uar"], -scores["val_loss"]] if validated else [float(epoch), 0.0]
        is_best = state.best is None or tuple(rank) > state.best
        early = not is_best and epoch - state.best_epoch >= self.stage.patience
        self.checkpoints.save(epoch, arrays, rank, scores, early or epoch + 1 >= self.stage.epochs)
        if early:
            self.model.stop_training = True

    def _refuse_infinite(self, epoch: int, scores: dict[str, float], arrays: Arrays) -> None:
        bad = [f"{k} became {v}" for k, v in scores.items() if not math.isfinite(v)]
        if not all(np.isfinite(array).all() for array in arrays.values()):
            bad.append("a weight became infinite or NaN")
        if bad:
            kept = self.checkpoints.state.epoch + 1
            cause = f"{bad[0]} in epoch {epoch + 1}; " + (
                f"the state after epoch {kept} is kept" if kept else "there is no state before"
            )
            raise EmoError(self.checkpoints.folder, Reason.NAN_LOSS, cause)


def read_arrays(model: keras.Model) -> Arrays:
    """Weights of a compiled network and its optimizer, in order, by kind and number."""
    kinds = {"model": model.weights, "optimizer": model.optimizer.variables}
    return {
        f"{kind}/{i:04d}": np.asarray(variable.numpy())
        for kind, variables in kinds.items()
        for i, variable in enumerate(variables)
    }


def assign_arrays(model: keras.Model, arrays: Arrays) -> None:
    """Put read_arrays back, bit for bit. Raises ValueError where they are of another network."""
    if set(arrays) != set(read_arrays(model)):
        raise ValueError("the state is of another network")
    model.set_weights([arrays[k] for k in sorted(arrays) if k.startswith("model/")])
    for i, variable in enumerate(model.optimizer.variables):
        variable.assign(arrays[f"optimizer/{i:04d}"])


class SeedEpochs(keras.callbacks.Callback):
    """Seeds dropout by epoch, so that a resumed run draws the masks of an uninterrupted one.

    Every replica draws its own masks, the first those of a single one.
    """

    def __init__(self, seed: int, replicas: Replicas):
        super().__init__()
        self.seed, self.replicas = seed, replicas

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for number, layer in enumerate(walk_layers(self.model)):
            generator = getattr(layer, "seed_generator", None)
            if generator is None:
                continue
            states = self.replicas.strategy.experimental_local_results(generator.state.value)
            for replica, state in enumerate(states, self.replicas.share.first):
                key = (self.seed, epoch, number, *((replica,) if replica else ()))
                draws = np.random.default_rng(key).integers(0, 2**31, 2)
                state.assign(draws.astype(state.dtype.as_numpy_dtype))


class EpochLine(keras.callbacks.Callback):
    """Prints a line an epoch, or every so many where epochs are many and short."""

    def __init__(self, stage: str, epochs: int):
        super().__init__()
        self.stage, self.epochs, self.every = stage, epochs, max(1, epochs // 60)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start_s, self.steps, self.train_s = time.monotonic(), 0, 0.0
        self.progress = Progress(f"{self.stage} {epoch + 1}/{self.epochs}", "steps")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1
        self.train_s = time.monotonic() - self.start_s  # validation comes after the last one
        self.progress(self.steps, self.params.get("steps") or 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.clear()
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        scores = "  ".join(f"{k} {logs[k]:.3f}" for k in SHOWN if logs and k in logs)
        took_s = time.monotonic() - self.start_s
        rate = f"{self.steps / self.train_s:.1f} steps/s" if self.train_s > 0 else ""
        line = f"{self.stage} {epoch + 1}/{self.epochs}  {scores}  {took_s:.1f} s  {rate}"
        print(line.rstrip(), flush=True)


def save_model(model: keras.Model, path: Path) -> None:
    """Write a .keras file in one step. Raises EnvironmentFailure, see open_draft."""
    with open_draft(path, ".keras") as f:
        model.save(f.name)
