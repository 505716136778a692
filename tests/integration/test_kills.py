"""SIGKILL at random points while states are saved and while clips are prepared.

KERAS_EMO_KILLS: how many kills of each kind, 6 where it is not set.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_emo.data.cache import build_cache
from keras_emo.data.corpus import Sample
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec
from keras_emo.training.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

N_KILLS = int(os.environ.get("KERAS_EMO_KILLS", "6"))
N_CLIPS = 16
IDENTITY = {"seed": 0, "split": "kills"}
SPEC = ClipSpec(face=FaceSpec(size_px=32))


def arrays_of(epoch: int) -> dict[str, np.ndarray]:
    """A megabyte of an epoch's own."""
    rng = np.random.default_rng(epoch)
    return {f"model/{i:04d}": rng.normal(size=(64, 1024)).astype(np.float32) for i in range(4)}


def rank_of(epoch: int) -> list[float]:
    return [float(np.random.default_rng((epoch, 1)).random())]


def save_states(folder: Path, epochs: int) -> None:
    """A training without the training, which resumes where it was stopped."""
    checkpoints = Checkpoints(folder, IDENTITY)
    first = checkpoints.restore()
    print("ready", flush=True)
    for epoch in range(first, epochs):
        figures = {"loss": 1 / (epoch + 1)}
        checkpoints.save(epoch, arrays_of(epoch), rank_of(epoch), figures, epoch + 1 == epochs)


def list_samples(folder: Path) -> list[Sample]:
    return [
        Sample(f"builtin/{p.stem}", "builtin", "builtin/01", "male", "happy", source)
        for p in sorted(folder.iterdir())
        for source in [ClipSource(**{"video" if p.suffix == ".mp4" else "audio": p})]
    ]


def prepare_clips(folder: Path, root: Path, workers: int) -> None:
    print("ready", flush=True)
    build_cache(list_samples(folder), SPEC, root, workers)


def start(function, *arguments: object) -> subprocess.Popen:
    """A function of this file in a process of its own, once it is ready."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        f"import test_kills\n"
        "if __name__ == '__main__':\n"
        f"    test_kills.{function.__name__}(*map(eval, sys.argv[2:]))\n"
    )
    written = [f"Path({str(a)!r})" if isinstance(a, Path) else repr(a) for a in arguments]
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *written]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_after(process: subprocess.Popen, delay_s: float) -> None:
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=60)


def test_a_kill_while_saving_leaves_a_whole_pair(tmp_path, capsys):
    draw = random.Random(0)
    reached = 0
    for _ in range(N_KILLS):
        kill_after(start(save_states, tmp_path, 10**6), draw.uniform(0, 0.2))
        checkpoints = Checkpoints(tmp_path, IDENTITY)
        first = checkpoints.restore()
        assert capsys.readouterr().err == ""  # nothing was damaged
        assert first >= reached
        reached = first
        if first:
            ranks = [rank_of(epoch) for epoch in range(first)]
            assert checkpoints.state.best_epoch == ranks.index(max(ranks))
            assert [r["epoch"] for r in checkpoints.state.history] == list(range(first))
            for epoch in (first - 1, checkpoints.state.best_epoch):
                for name, array in checkpoints.load(epoch).items():
                    np.testing.assert_array_equal(array, arrays_of(epoch)[name])
    last = start(save_states, tmp_path, reached + 3)
    last.communicate(timeout=60)
    assert last.returncode == 0
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    assert checkpoints.restore() == reached + 3
    assert checkpoints.state.done
    names = {f"epoch-{e:04d}.npz" for e in (reached + 2, checkpoints.state.best_epoch)}
    assert {p.name for p in tmp_path.iterdir()} == names | {"state.json", "history.csv"}


def test_a_kill_while_preparing_leaves_whole_clips(make, tmp_path):
    draw = random.Random(0)
    clips = tmp_path / "clips"
    clips.mkdir()
    for i in range(N_CLIPS):
        sound = make.sine(0.3 + 0.01 * i)
        if i % 4:
            make.wav(clips / f"{i:02d}.wav", sound)
        else:
            make.video(clips / f"{i:02d}.mp4", make.grey_frames(10 + i), sound=sound)
    samples = list_samples(clips)
    begun_s = time.monotonic()
    report = build_cache(samples, SPEC, tmp_path / "whole", workers=1)
    spent_s = time.monotonic() - begun_s
    whole = {p.name: p.read_bytes() for p in report.files.values()}
    assert len(whole) == N_CLIPS
    for i in range(N_KILLS):
        root, workers = tmp_path / f"root{i}", 1 + i % 2
        # processes take a while to start
        delay_s = draw.uniform(0, spent_s) if workers == 1 else draw.uniform(0, 6 * spent_s)
        kill_after(start(prepare_clips, clips, root, workers), delay_s)
        found = sorted(root.rglob("*.npz"))
        assert all(p.read_bytes() == whole[p.name] for p in found)
        report = build_cache(samples, SPEC, root, workers=1)
        assert report.failures == []
        assert report.computed <= N_CLIPS - len(found)
        assert {p.name: p.read_bytes() for p in report.files.values()} == whole
        time.sleep(0.1)  # a worker sees its parent's end a moment later
        assert build_cache(samples, SPEC, root, workers=1).computed == 0
        assert not list(root.rglob(".part-*"))
