"""Training that is stopped or runs out of disk: nothing is lost, one clear line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_emo.labels import EMOTIONS

from .conftest import Trained

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

CONFIG = """
[run]
test = ["6"]
val = ["4", "5"]
seed = 3
epochs = 6
deterministic = true

[clip.face]
size_px = 64

[waves]
n_variants = 1

[model.visual_residual]
width = 0.2
[model.audio_tdnn]
units = 16
top_units = 16

[stage.pretrain]
batch = 16
[stage.visual_residual]
batch = 16
[stage.audio_tdnn]
batch = 8
patience = 6
"""
STAGES = ("pretrain", "visual_residual", "audio_tdnn")
LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])  # a full disk: no file may grow beyond so many bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory) -> Trained:
    """A configuration of small networks, and pictures to pretrain on; nothing trained yet."""
    pytest.importorskip("tensorflow")
    root = tmp_path_factory.mktemp("interrupt")
    (root / "config.toml").write_text(CONFIG, encoding="utf-8")
    rng = np.random.default_rng(0)
    for label, name in enumerate(EMOTIONS):
        (root / "faces" / name).mkdir(parents=True)
        for i in range(12):
            picture = np.clip(rng.normal(30 * label + 20, 10, (48, 48)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / "faces" / name / f"{i:04d}.png"), picture)
    return Trained(root, corpus, root / "cache", root / "config.toml", root / "run")


def list_options(made: Trained) -> tuple[str, ...]:
    return ("--pretrain-data", str(made.root / "faces"), "--stages", ",".join(STAGES[1:]))


@pytest.fixture(scope="module")
def whole(made) -> Path:
    """The run that nothing stops."""
    done = made.train(*list_options(made))
    assert done.returncode == 0, done.stderr[-3000:]
    return made.run


def stop_at(command: list[str], start: str, number: int) -> tuple[int, str, set[int]]:
    """Send a signal once a line begins so; returns exit code, stderr and children by id."""
    errors = subprocess.STDOUT if start.startswith("prepared") else subprocess.PIPE
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        line = next((x for x in process.stdout if x.startswith(start)), None)
        assert line is not None, process.communicate()[1]
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = {int(pid) for task in tasks for pid in task.read_text().split()}
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err or out, children


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def line_of(errors: str, word: str) -> str:
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith(word)]
    assert len(lines) == 1, errors
    return lines[0]


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Weights and optimiser of a .keras file."""
    import h5py

    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as z, z.open("model.weights.h5") as f, h5py.File(f) as store:
        store.visititems(
            lambda name, x: found.__setitem__(name, x[()]) if isinstance(x, h5py.Dataset) else None
        )
    return found


def test_a_stopped_run_ends_in_the_same_weights(made, whole, tmp_path):
    """Stopped once in every stage, by SIGTERM and by Ctrl-C: bit for bit what it would be."""
    run = tmp_path / "run"
    options = list_options(made)
    for stage in STAGES:
        number = signal.SIGINT if stage == "audio_tdnn" else signal.SIGTERM
        code, errors, _ = stop_at(made.command(*options, out=run), f"{stage} 2/6", number)
        assert code == 128 + number, errors
        line = line_of(errors, "stopped by")
        assert str(run) in line
        assert f"{stage} is saved after epoch" in line
        assert int(line.split("after epoch ")[1].split(";")[0]) in range(2, 7)
        assert not list(run.rglob(".part-*"))
        assert len(list((run / stage).glob("epoch-*.npz"))) <= 2
    refused = made.train(*options, "--seed", "4", out=run)
    assert refused.returncode == 2
    assert "config.seed is 3, asked 4" in refused.stderr
    done = made.train(*options, out=run)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "audio_tdnn: resumed after epoch" in done.stdout
    for stage in STAGES:
        ours, theirs = (read_weights(f / stage / "model.keras") for f in (run, whole))
        assert len(ours) > 20
        assert set(ours) == set(theirs)
        for name, array in ours.items():
            assert np.array_equal(array, theirs[name]), f"{stage}: {name}"
        names = ["history.csv"]
        if stage != "pretrain":
            names += ["predictions_val.csv", "predictions_test.csv"]
        for name in names:
            assert (run / stage / name).read_bytes() == (whole / stage / name).read_bytes()
        assert not list((run / stage).glob("epoch-*"))


def test_stopping_while_clips_are_prepared_ends_the_workers(made, tmp_path):
    cache = tmp_path / "cache"
    options = ("--cache", str(cache), "--jobs", "2")
    command = made.command(*options, out=tmp_path / "run")
    code, said, children = stop_at(command, "prepared clips 5/", signal.SIGTERM)
    assert code == 143, said
    line_of(said, "stopped by SIGTERM")
    assert len(children) >= 2
    end_s = time.monotonic() + 10
    while any(map(is_alive, children)):  # Python's own resource tracker ends a moment later
        assert time.monotonic() < end_s, children
        time.sleep(0.1)
    assert not list(cache.rglob(".part-*"))
    files = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npz")}
    assert 5 <= len(files) < 48
    code, said, _ = stop_at(command, "prepared clips", signal.SIGTERM)  # goes on, not anew
    assert code == 143
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in files.items())


def test_a_full_disk_while_clips_are_prepared(made, tmp_path):
    command = made.command("--cache", str(tmp_path / "cache"), out=tmp_path / "run")
    limited = [sys.executable, "-c", LIMITED, "20000", *command[1:]]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300)
    assert done.returncode == 6, done.stderr
    assert os.strerror(27) in line_of(done.stderr, "error:")
    assert not list((tmp_path / "cache").rglob("*.npz"))
    assert not list((tmp_path / "cache").rglob(".part-*"))
