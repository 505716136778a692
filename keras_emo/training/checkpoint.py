"""States of a training on disk: the last and the best, under one manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_emo.errors import Reason, UsageError
from keras_emo.inference.bundle import digest_file
from keras_emo.io import sweep_drafts, write_atomic, write_json, write_text

MANIFEST = "state.json"
HISTORY = "history.csv"
FORMAT = 2

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """The folder of one stage: epoch-NNNN.npz of the last and the best epoch, and state.json.

    state.json is written after the files that it names, with the sha256 of each; it also holds
    epoch, rank of the best, history and identity (seed, split), so that nothing can be paired
    with something else. history.csv repeats the history for readers.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder, self.identity = folder, dict(identity)
        self.state = self._blank()

    def _blank(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "identity": self.identity, "epoch": -1, "best_epoch": -1,
            "best": None, "done": False, "files": {}, "history": [],
        }  # fmt: skip

    def restore(self) -> int:
        """Take up what is on disk; returns the epoch to go on with (0: from the start).

        Every epoch's draws depend on the seed and its number alone, so an older state leads to
        the same network. A damaged last file therefore falls back to the best one, and where
        that is damaged too, or the manifest, the stage starts again; stderr says so. Raises
        UsageError for a state of another seed or split.
        """
        sweep_drafts(self.folder)
        self.state = self._blank()
        path = self.folder / MANIFEST
        if not path.exists():
            return 0
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["format"] != FORMAT:
                raise ValueError(f"of format {state['format']}")
            found, epoch, best_epoch = state["identity"], state["epoch"], state["best_epoch"]
            whole = {e for e in (epoch, best_epoch) if self._is_whole(state["files"], e)}
            history = state["history"][: best_epoch + 1]
            epochs = [row["epoch"] for row in state["history"]]
            if epochs[-1:] != [epoch] or epochs != list(range(len(epochs))):
                raise ValueError("a history of other epochs")
            if not state["best"] > [] or not all(isinstance(v, int | float) for v in state["best"]):
                raise ValueError("a rank that is no list of numbers")
            state["done"] = bool(state["done"])
        except (ValueError, KeyError, TypeError, OSError, RecursionError) as e:
            self._warn(path, f"unreadable ({e}); the stage starts again")
            return 0
        if found != self.identity:
            cause = f"a state of {found}, not of {self.identity}; name another run folder"
            raise UsageError(path, Reason.BAD_CONFIG, cause)
        if best_epoch not in whole:  # what was best could not be told any more
            self._warn(self._name(best_epoch), "damaged or missing; the stage starts again")
            return 0
        if epoch not in whole:
            cause = f"damaged or missing; going on after epoch {best_epoch + 1}, the best one"
            self._warn(self._name(epoch), cause)
            state |= {"epoch": best_epoch, "done": False, "history": history}
        self.state = state
        return state["epoch"] + 1

    def save(
        self, epoch: int, arrays: Arrays, rank: list[float], figures: dict[str, float], done: bool
    ) -> None:
        """Keep the state after an epoch; the best has the highest rank, the first of equals.

        Raises EnvironmentFailure where the disk refuses; the state before stays then.
        """
        state = {**self.state, "epoch": epoch, "done": done}
        state["history"] = [*self.state["history"], {"epoch": epoch, **figures}]
        if state["best"] is None or rank > state["best"]:
            state |= {"best": rank, "best_epoch": epoch}
        path = self._name(epoch)
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes a bool first
        write_atomic(path, lambda f: f.write(content.getbuffer()))
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        kept = {str(e) for e in (epoch, state["best_epoch"])}
        files = {**self.state["files"], str(epoch): {"name": path.name, "sha256": digest}}
        state["files"] = {e: file for e, file in files.items() if e in kept}
        write_json(self.folder / MANIFEST, state)
        self.state = state
        self.write_history()
        for old in self.folder.glob("epoch-*.npz"):
            if old.name not in {file["name"] for file in state["files"].values()}:
                old.unlink()

    def load(self, epoch: int) -> Arrays:
        """Arrays as saved after the last or the best epoch."""
        with np.load(self._name(epoch), allow_pickle=False) as data:
            return dict(data)

    def write_history(self) -> None:
        """One row an epoch that a checkpoint covers."""
        rows = self.state["history"]
        if rows:
            text = io.StringIO(newline="")
            names = {name for row in rows for name in row} - {"epoch"}
            writer = csv.DictWriter(text, ["epoch", *sorted(names)])
            writer.writeheader()
            writer.writerows(rows)
            write_text(self.folder / HISTORY, text.getvalue())

    def _name(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"

    def _is_whole(self, files: dict[str, Any], epoch: int) -> bool:
        path, known = self._name(epoch), files[str(epoch)]
        return path.is_file() and known == {"name": path.name, "sha256": digest_file(path)}

    @staticmethod
    def _warn(path: Path, cause: str) -> None:
        print(f"warning: {str(path)!r}: {cause}", file=sys.stderr, flush=True)


def drop_checkpoints(folder: Path) -> None:
    """Remove the states of a finished stage, the manifest first: it names no missing file."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.glob("epoch-*.npz"):
        path.unlink()
    sweep_drafts(folder)
