"""On Ray, with processes killed: the rows of the plain command, none lost and none doubled."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
if importlib.util.find_spec("ray") is None:  # it is imported once its environment is set
    pytest.skip("needs the extra scale", allow_module_level=True)
import pyarrow.parquet as pq

from keras_emo.cli import main as cli
from keras_emo.data.cache import build_cache
from keras_emo.data.corpora import read_corpus
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.labels import EMOTIONS
from keras_emo.scale.cluster import open_cluster
from keras_emo.scale.family import is_alive, list_family
from keras_emo.scale.work import run_on_cluster
from keras_emo.spec import ClipSpec, FaceSpec

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models/default"
SHARD_CLIPS = 4
PATIENCE_S = 120


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """24 short clips of drawn faces."""
    spec = BuiltinSpec(
        n_speakers=3, n_statements=1, strong=False, min_duration_s=1.0, max_duration_s=1.2
    )
    return build_corpus(tmp_path_factory.mktemp("recordings") / "corpus", spec, 0)


@pytest.fixture(scope="module")
def plain(clips, tmp_path_factory) -> dict[str, dict]:
    """What the plain command says, by path."""
    out = tmp_path_factory.mktemp("plain") / "answers.json"
    command = ["predict", str(clips), "--bundle", str(BUNDLE), "--threads", "1"]
    assert cli.main([*command, "--format", "json", "--out", str(out)]) == 0
    return {a["path"]: a for a in json.loads(out.read_text())}


@pytest.fixture(scope="module", autouse=True)
def temporary():
    """A folder for Ray's files, with a name short enough for its sockets; a kill leaves some."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


def start(out: Path, *options: object) -> subprocess.Popen:
    """predict on Ray, in a process of its own."""
    command = [
        sys.executable, "-m", "keras_emo", "predict", "--bundle", BUNDLE, "--format", "parquet",
        "--engine", "ray", "--out", out, "--shard-clips", SHARD_CLIPS, *options,
    ]  # fmt: skip
    words = list(map(str, command))
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def wait_until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def compare(out: Path, plain: dict[str, dict]) -> list[dict]:
    """Check the rows of a folder against the plain command's answers; the others are returned."""
    rows = pq.read_table(out).to_pylist()
    answers = [r for r in rows if r["reason"] is None]
    assert [r["path"] for r in answers] == sorted(plain)  # each once, in order
    for row in answers:
        there = plain[row["path"]]
        probs, expected = ([r[e] for e in EMOTIONS] for r in (row, there["probs"]))
        np.testing.assert_allclose(probs, expected, rtol=0, atol=1e-6)
        for name in ("label", "modalities", "states", "warnings"):
            assert row[name] == there[name]
    return [r for r in rows if r["reason"] is not None]


def test_a_killed_worker_loses_and_doubles_nothing(clips, plain, tmp_path):
    process = start(tmp_path, clips, "--workers", 2)
    wait_until(lambda: list(tmp_path.glob("*.parquet")))
    workers = [p for p in list_family(process.pid) if p.name.startswith("ray::MapWor")]
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert {line.split()[0] for line in err.splitlines()} == {"answered"}  # of Ray not a word
    assert compare(tmp_path, plain) == []


def test_a_restart_after_the_driver_was_killed_does_the_rest(clips, plain, tmp_path):
    noise = tmp_path / "noise.mp4"
    noise.write_text("no video at all")
    out, given = tmp_path / "out", [clips, noise, "nowhere.mp4"]
    process = start(out, *given, "--workers", 1)
    wait_until(lambda: list(out.glob("*.parquet")))
    family = list_family(process.pid)
    process.kill()
    process.communicate()
    # Ray's agents, Dashboard and RuntimeEnv by name, take a minute to notice.
    family = {p for p in family if not p.name.startswith(("ray::D", "ray::R"))}
    wait_until(lambda: not any(map(is_alive, family)))
    finished = {p.name: p.stat().st_ino for p in out.glob("*.parquet")}
    assert len(finished) < 7

    process = start(out, *given, "--workers", 1)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, err
    n_before = SHARD_CLIPS * len(finished)
    assert f"{n_before} of 26 clips were done before" in err
    assert f"error: {str(noise)!r}: not_media: " in err
    assert "24 predicted, 2 rejected" in err
    assert {n: (out / n).stat().st_ino for n in finished} == finished
    failed = {Path(r["path"]).name: r["reason"] for r in compare(out, plain)}
    assert failed == {"noise.mp4": "not_media", "nowhere.mp4": "not_found"}


def test_sigterm_ends_all_processes(clips, tmp_path):
    options = ("--workers", 1, "--timeline", "--window-s", 1, "--sandbox")
    process = start(tmp_path, clips, *options)
    wait_until(lambda: list(tmp_path.glob("*.parquet")))
    family = list_family(process.pid)
    start_s = time.monotonic()
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143
    assert time.monotonic() - start_s < 30  # about two on a machine with nothing else to do
    assert err.splitlines()[-1] == "stopped"
    wait_until(lambda: not any(map(is_alive, family)))
    rows = pq.read_table(tmp_path).to_pylist()
    assert len({r["path"] for r in rows}) % SHARD_CLIPS == 0
    assert rows[0]["end_s"] - rows[0]["start_s"] == pytest.approx(1.0, abs=0.1)


@pytest.fixture(scope="module")
def cluster():
    with open_cluster(None, 2, 1) as opened:
        yield opened


def test_a_job_that_kills_its_worker_fails_alone(cluster):
    deadly = "__import__('os').kill(__import__('os').getpid(), 9)"
    jobs = [(deadly if i == 9 else f"{i} + 1",) for i in range(48)]
    done = list(run_on_cluster(cluster, eval, jobs, lambda text: "gave up"))
    assert len(done) == 48
    assert dict(done) == {job: "gave up" if job == (deadly,) else eval(*job) for job in jobs}


def test_prepared_clips_are_those_of_the_plain_cache(cluster, clips, tmp_path):
    samples, spec = read_corpus(clips).samples[:6], ClipSpec(face=FaceSpec(size_px=32))

    def run(function, jobs, workers):
        return run_on_cluster(cluster, function, jobs, lambda *_: pytest.fail("gave up"))

    one = build_cache(samples, spec, tmp_path / "one", 1)
    other = build_cache(samples, spec, tmp_path / "other", run=run)
    assert (other.computed, other.failures) == (6, [])
    for sample_id, path in one.files.items():
        assert other.files[sample_id].read_bytes() == path.read_bytes()
        assert other.files[sample_id].name == path.name
    assert build_cache(samples, spec, tmp_path / "other", 1).computed == 0
