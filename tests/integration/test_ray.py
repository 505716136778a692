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
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("psutil")
if importlib.util.find_spec("ray") is None:  # it is imported once its environment is set
    pytest.skip("needs the extra scale", allow_module_level=True)
import psutil
import pyarrow.parquet as pq

from keras_emo import cli
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.errors import EmoError, EnvironmentFailure, Reason, UsageError
from keras_emo.labels import EMOTIONS
from keras_emo.scale.cluster import open_cluster, ray_map

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models/default"
CLIPS_PER_FILE = 4
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
    """The predictions of the plain command, by path."""
    out = tmp_path_factory.mktemp("plain") / "predictions.json"
    command = ["predict", str(clips), "--bundle", str(BUNDLE), "--threads", "1"]
    assert cli.main([*command, "--format", "json", "--out", str(out)]) == 0
    return {p["path"]: p for p in json.loads(out.read_text())}


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
    """predict on Ray, in a session of its own, as a terminal has one."""
    command = [
        sys.executable, "-m", "keras_emo", "predict", "--bundle", BUNDLE, "--format", "parquet",
        "--engine", "ray", "--out", out, "--shard-clips", CLIPS_PER_FILE, *options,
    ]  # fmt: skip
    words = [str(word) for word in command]
    return subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def wait_until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def find_children(process: subprocess.Popen, name: str = "") -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [p for p in found if p.is_running() and p.name().startswith(name)]


def all_ended(processes: Iterable[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=0)[1]


def compare(out: Path, plain: dict[str, dict]) -> list[dict]:
    """Check the rows of a folder against the plain command's; those of failed clips."""
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: row["path"])
    predicted = [r for r in rows if r["reason"] is None]
    assert [r["path"] for r in predicted] == sorted(plain)  # each once
    for row in predicted:
        expected = plain[row["path"]]
        probs = [row[e] for e in EMOTIONS]
        np.testing.assert_allclose(probs, [expected["probs"][e] for e in EMOTIONS], atol=1e-6)
        for name in ("label", "modalities", "states", "warnings"):
            assert row[name] == expected[name]
    return [r for r in rows if r["reason"] is not None]


def test_a_killed_worker_loses_and_doubles_nothing(clips, plain, tmp_path):
    process = start(tmp_path, clips, "--workers", 2)
    wait_until(lambda: list(tmp_path.glob("*.parquet")))
    workers = find_children(process, "ray::Worker")
    assert len(workers) == 2
    workers[0].kill()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert {line.split()[0] for line in err.splitlines()} == {"predicted"}  # no output of Ray
    assert compare(tmp_path, plain) == []


def test_a_restart_after_the_command_was_killed_does_the_rest(clips, plain, tmp_path):
    noise = tmp_path / "noise.mp4"
    noise.write_text("no video at all")
    out, given = tmp_path / "out", [clips, noise, "nowhere.mp4"]
    process = start(out, *given, "--workers", 1)
    wait_until(lambda: list(out.glob("*.parquet")))
    children = find_children(process)
    process.kill()
    process.communicate()
    late = ("ray::D", "ray::R")  # Ray's agents, Dashboard and RuntimeEnv, take a minute to notice
    children = [p for p in children if p.is_running() and not p.name().startswith(late)]
    wait_until(lambda: all_ended(children))
    finished = {p.name: p.stat().st_ino for p in out.glob("*.parquet")}
    assert 1 <= len(finished) < 7

    process = start(out, *given, "--workers", 1)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, err
    assert f"{CLIPS_PER_FILE * len(finished)} of 26 clips were predicted before" in err
    assert f"error: {str(noise)!r}: not_media: " in err
    assert "24 predicted, 2 rejected" in err
    assert {name: (out / name).stat().st_ino for name in finished} == finished
    failed = {Path(r["path"]).name: r["reason"] for r in compare(out, plain)}
    assert failed == {"noise.mp4": "not_media", "nowhere.mp4": "not_found"}


@pytest.mark.parametrize("working", [True, False])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes(clips, tmp_path, number, code, working):
    """Also while Ray starts."""
    options = ("--workers", 1, "--timeline", "--window-s", 1, "--sandbox")
    process = start(tmp_path, clips, *options)
    if working:
        wait_until(lambda: list(tmp_path.glob("*.parquet")))
    else:
        wait_until(lambda: find_children(process, "raylet"))
    children = find_children(process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: all_ended(children))
    assert process.returncode == code, err
    assert err.splitlines()[-1] == "stopped"
    if working:
        rows = pq.read_table(tmp_path).to_pylist()
        assert f"{len({r['path'] for r in rows})} of 24 clips are predicted" in err
        assert rows[0]["end_s"] - rows[0]["start_s"] == pytest.approx(1.0, abs=0.1)


def test_an_item_that_kills_its_worker_fails_alone():
    deadly = "__import__('os').kill(__import__('os').getpid(), 9)"
    items = [deadly if i == 9 else f"{i} + 1" for i in range(48)]
    done = list(ray_map(eval, items, 2, 1, None, lambda text: "died"))
    assert len(done) == 48
    assert dict(done) == {item: "died" if item == deadly else eval(item) for item in items}


def refuse(value: int) -> None:
    raise UsageError("bundle", Reason.BAD_CONFIG, f"{value} is refused")


@pytest.mark.parametrize(
    ("function", "kind", "match"),
    [(refuse, EmoError, "1 is refused"), (str.upper, Exception, "TypeError")],
)
def test_an_error_of_a_worker_is_raised_here(function, kind, match):
    with pytest.raises(kind, match=match):
        list(ray_map(function, [1], 1, 1, None, str))


def test_a_running_cluster_is_used(clips, plain, tmp_path):
    with open_cluster(None, 1, 1) as n_workers:
        assert n_workers == 1
        import ray

        address = ray.get_runtime_context().gcs_address
        _, err = start(tmp_path / "two", clips, "--workers", 2, "--address", address).communicate()
        too_many = "2 times 1 threads do not fit the 1 CPUs of the cluster"
        assert err.splitlines()[-1] == f"error: '--workers': bad_config: {too_many}"
        process = start(tmp_path / "one", clips, "--address", address)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
    assert compare(tmp_path / "one", plain) == []


def test_an_address_without_a_cluster_is_an_error():
    match = "nothing listens there"
    with pytest.raises(EnvironmentFailure, match=match), open_cluster("127.0.0.1:1", 1, 1):
        pass


def test_preprocess_fills_the_same_cache(clips, tmp_path):
    command = [sys.executable, "-m", "keras_emo", "preprocess", "--data", str(clips)]
    command += ["--bundle", str(BUNDLE), "--workers", "1"]
    for engine in ("local", "ray"):
        options = ["--engine", engine, "--cache", str(tmp_path / engine)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "24 of 24 clips prepared, 24 of them now\n"
    prepared = {p.relative_to(tmp_path / "local") for p in (tmp_path / "local").rglob("*.npz")}
    assert len(prepared) == 24
    for path in prepared:
        assert (tmp_path / "ray" / path).read_bytes() == (tmp_path / "local" / path).read_bytes()
