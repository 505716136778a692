"""States of a training on disk: the last and the best, under one manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import Reason, UsageError
from keras_emo.io import digest_file, open_draft, sweep_drafts, write_json, write_text
from keras_emo.records import read_fields, write_fields

MANIFEST = "state.json"
HISTORY = "history.csv"
FORMAT = 2

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class StoredFile:
    """A file beside state.json."""

    name: str
    sha256: str


@dataclass(frozen=True)
class State:
    """state.json: how far a stage is trained.

    identity: seed and split, so that no state is resumed by another run. best: rank of the best
    epoch. files: by epoch. history: logs of every epoch.
    """

    identity: Mapping[str, Any]
    epoch: int = -1
    best_epoch: int = -1
    best: tuple[float, ...] | None = None
    done: bool = False
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    format: int = FORMAT

    def check(self) -> None:
        """Raise ValueError where the state contradicts itself."""
        if self.format != FORMAT:
            raise ValueError(f"of format {self.format}")
        if not self.best:
            raise ValueError("without a rank")
        epochs = [row.get("epoch") for row in self.history]
        if len(epochs) != self.epoch + 1 or epochs != list(range(len(epochs))):
            raise ValueError("a history of other epochs")
        if not 0 <= self.best_epoch <= self.epoch:
            raise ValueError(f"best in epoch {self.best_epoch}")


class Checkpoints:
    """The folder of one stage: epoch-NNNN.npz of the last and the best epoch, and state.json.

    state.json is written after the files that it names. history.csv repeats the history for
    readers.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder, self.state = folder, State(dict(identity))

    def restore(self) -> int:
        """Resume from what is on disk; returns the epoch to continue with (0: from the start).

        Every epoch's draws depend on the seed and its number alone, so an older state leads to
        the same network. A damaged last file therefore falls back to the best one, and where
        that is damaged too, or the manifest, the stage starts again with a warning on stderr.
        Raises UsageError for a state of another seed or split.
        """
        sweep_drafts(self.folder)
        self.state = State(self.state.identity)
        path = self.folder / MANIFEST
        if not path.exists():
            return 0
        try:
            state = read_fields(State, json.loads(path.read_text(encoding="utf-8")))
            state.check()
        except (ValueError, TypeError, OSError, RecursionError) as e:
            self._warn(path, f"unreadable ({e}); the stage starts again")
            return 0
        if state.identity != self.state.identity:
            cause = f"a state of {state.identity}, not of {self.state.identity}"
            raise UsageError(path, Reason.BAD_CONFIG, f"{cause}; name another run folder")
        if not self._is_whole(state, state.best_epoch):
            self._warn(self._name(state.best_epoch), "damaged or missing; the stage starts again")
            return 0
        if not self._is_whole(state, state.epoch):
            cause = f"damaged or missing; resuming after epoch {state.best_epoch + 1}, the best one"
            self._warn(self._name(state.epoch), cause)
            history = state.history[: state.best_epoch + 1]
            state = replace(state, epoch=state.best_epoch, done=False, history=history)
        self.state = state
        return state.epoch + 1

    def save(
        self, epoch: int, arrays: Arrays, rank: list[float], logs: dict[str, float], done: bool
    ) -> None:
        """Keep the state after an epoch; the best has the highest rank, the first of equals.

        Raises EnvironmentFailure where the disk refuses; the state before stays then.
        """
        before, best_epoch = self.state, self.state.best_epoch
        if before.best is None or tuple(rank) > before.best:
            best_epoch = epoch
        path = self._name(epoch)
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes a bool first
        with open_draft(path) as f:
            f.write(content.getbuffer())
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        files = {**before.files, str(epoch): StoredFile(path.name, digest)}
        state = State(
            before.identity,
            epoch,
            best_epoch,
            tuple(rank) if best_epoch == epoch else before.best,
            done,
            {e: file for e, file in files.items() if e in (str(epoch), str(best_epoch))},
            (*before.history, {"epoch": epoch, **logs}),
        )
        write_json(self.folder / MANIFEST, write_fields(state))
        self.state = state
        self.write_history()
        for old in self.folder.glob("epoch-*.npz"):
            if old.name not in {file.name for file in state.files.values()}:
                old.unlink()

    def load(self, epoch: int) -> Arrays:
        """Arrays as saved after the last or the best epoch."""
        with np.load(self._name(epoch), allow_pickle=False) as data:
            return dict(data)

    def write_history(self) -> None:
        """One row an epoch that a checkpoint covers."""
        rows = self.state.history
        if rows:
            text = io.StringIO(newline="")
            names = {name for row in rows for name in row} - {"epoch"}
            writer = csv.DictWriter(text, ["epoch", *sorted(names)])
            writer.writeheader()
            writer.writerows(rows)
            write_text(self.folder / HISTORY, text.getvalue())

    def _name(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"

    def _is_whole(self, state: State, epoch: int) -> bool:
        path, known = self._name(epoch), state.files.get(str(epoch))
        return path.is_file() and known == StoredFile(path.name, digest_file(path))

    @staticmethod
    def _warn(path: Path, cause: str) -> None:
        print(f"warning: {str(path)!r}: {cause}", file=sys.stderr, flush=True)


def drop_checkpoints(folder: Path) -> None:
    """Remove the states of a finished stage, the manifest first: it names no missing file."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.glob("epoch-*.npz"):
        path.unlink()
    sweep_drafts(folder)
