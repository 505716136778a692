"""Plans, shards, rows and what is tried again, without Ray."""

import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from keras_emo.errors import (
    BundleError,
    ClipError,
    ClipTimeout,
    EnvironmentFailure,
    Reason,
    UsageError,
)
from keras_emo.inference.model import Prediction
from keras_emo.inference.predict import WindowPrediction
from keras_emo.labels import EMOTIONS
from keras_emo.scale import work
from keras_emo.scale.answers import ClipAnswer, ClipAnswerer, Maker
from keras_emo.scale.bulk import answer_rest
from keras_emo.scale.cluster import Cluster
from keras_emo.scale.family import end_family, is_alive, list_family
from keras_emo.scale.plan import make_plan
from keras_emo.scale.schema import SCHEMA, make_table
from keras_emo.scale.store import PLAN, open_store

MAKER = Maker("b" * 64)
OPTIONS = {"sandbox": False}
PROBS = np.array([0.1, 0.2, 0.05, 0.4, 0.05, 0.1, 0.1], np.float32)


def write_clips(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i:02d}.mp4" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes(i + 1))
    return paths


def plan_of(clips, shard_clips=2, maker=MAKER, windows=None, options=OPTIONS):
    return make_plan(clips, maker, windows, shard_clips, options)


def answer(path: Path) -> ClipAnswer:
    """A row with the path; a clip named 03 failed, 04 took too long, 05 is degraded."""
    error = None
    if path.stem == "03":
        error = ClipError(path, Reason.NOT_MEDIA, "noise")
    if path.stem == "04":
        error = ClipTimeout(path, Reason.TIMEOUT, "60 s")
    row = {"path": str(path), "reason": error and str(error.reason)}
    return ClipAnswer(make_table([row]), error, path.stem == "05")


def run_plain(jobs):
    for (path,) in jobs:
        yield (path,), answer(path)


def paths_in(folder: Path) -> list[str]:
    return pq.read_table(folder).column("path").to_pylist()


def test_a_plan_has_every_clip_once_in_order(tmp_path):
    clips = write_clips(tmp_path, 5)
    plan = plan_of([*reversed(clips), clips[2], Path(os.path.relpath(clips[3]))])
    assert plan.clips == tuple(clips)
    assert [(s.first, s.last) for s in plan.shards] == [(0, 2), (2, 4), (4, 5)]
    assert plan.digest == plan_of(clips).digest


def test_whatever_answers_depend_on_makes_another_plan(tmp_path):
    clips = write_clips(tmp_path, 4)
    digests = {
        plan_of(clips).digest,
        plan_of(clips[:3]).digest,
        plan_of(clips, shard_clips=3).digest,
        plan_of(clips, maker=Maker("c" * 64)).digest,
        plan_of(clips, maker=Maker("b" * 64, "0.0.1")).digest,
        plan_of(clips, windows=(3.0, 1.0)).digest,
        plan_of(clips, windows=(3.0, 0.5)).digest,
        plan_of(clips, options={"sandbox": True}).digest,
    }
    clips[0].write_bytes(bytes(99))
    digests.add(plan_of(clips).digest)
    clips[0].unlink()
    digests.add(plan_of(clips).digest)
    assert len(digests) == 10


def test_units_are_in_the_file(tmp_path):
    plan = plan_of(write_clips(tmp_path, 1))
    with open_store(tmp_path / "out", plan) as store:
        store.write(plan.shards[0], [answer(plan.clips[0])])
    read = pq.read_schema(tmp_path / "out" / plan.shards[0].name)
    assert read.names == SCHEMA.names
    assert set(EMOTIONS) < set(read.names)
    assert read.field("start_s").metadata[b"unit"] == b"s"
    assert read.field("width_px").metadata[b"unit"] == b"px"
    for field in read:
        assert field.metadata[b"meaning"]
        for suffix, unit in (("_s", b"s"), ("_px", b"px"), ("_bytes", b"byte")):
            if field.name.endswith(suffix):
                assert field.metadata[b"unit"] == unit


def test_a_restart_does_the_rest_alone(tmp_path, capsys):
    plan, out = plan_of(write_clips(tmp_path, 7)), tmp_path / "out"

    def stop_after(n):
        def run(jobs):
            for i, job in enumerate(jobs):
                if i == n:
                    raise KeyboardInterrupt
                yield job, answer(*job)

        return run

    with open_store(out, plan) as store, pytest.raises(KeyboardInterrupt):
        answer_rest(store, store.find_finished(), stop_after(5))
    assert "2 of 4 shards are written" in capsys.readouterr().err
    assert sorted(os.listdir(out)) == [PLAN, *(s.name for s in plan.shards[:2])]
    before = {p.name: p.stat().st_ino for p in out.iterdir()}
    asked = []

    def run_backwards(jobs):
        asked.extend(path for (path,) in jobs)
        yield from run_plain(reversed(jobs))

    with open_store(out, plan) as store:
        counts = answer_rest(store, store.find_finished(), run_backwards)
    assert asked == list(plan.clips[4:])
    assert {n: (out / n).stat().st_ino for n in before} == before
    assert paths_in(out) == [str(p) for p in plan.clips]
    assert (counts.answered, counts.failed, counts.late, counts.degraded) == (5, 2, 1, 1)
    err = capsys.readouterr().err
    assert "4 of 7 clips were done before" in err
    assert err.count("error: ") == 1  # 04; of 03 the first run has told
    with open_store(out, plan) as store:
        again = answer_rest(store, store.find_finished(), lambda jobs: run_plain(list(jobs)))
    assert again == counts


def test_a_damaged_shard_is_done_anew(tmp_path):
    plan, out = plan_of(write_clips(tmp_path, 6)), tmp_path / "out"
    with open_store(out, plan) as store:
        answer_rest(store, {}, run_plain)
        first, second, third = (out / s.name for s in plan.shards)
        first.write_bytes(first.read_bytes()[:-20])
        second.unlink()
        assert list(store.find_finished()) == [plan.shards[2]]
        third.write_bytes(b"")
        assert store.find_finished() == {}


def test_a_shard_of_another_plan_does_not_count(tmp_path):
    clips = write_clips(tmp_path, 4)
    one, other = plan_of(clips), plan_of(clips, options={"sandbox": True})
    with open_store(tmp_path / "out", one) as store:
        answer_rest(store, {}, run_plain)
        store.plan = other
        assert store.find_finished() == {}


def test_a_folder_of_another_job_is_refused(tmp_path):
    clips, out = write_clips(tmp_path, 4), tmp_path / "out"
    with open_store(out, plan_of(clips)):
        pass
    for changed, said in (
        (plan_of(clips[:2]), "number of clips, clips or their sizes"),
        (plan_of(clips, maker=Maker("c" * 64)), "bundle"),
        (plan_of(clips, windows=(2.0, 1.0)), "window_s, hop_s"),
    ):
        with pytest.raises(UsageError, match=said), open_store(out, changed):
            pass
    (out / PLAN).write_text("[]")
    with pytest.raises(UsageError, match="not a plan"), open_store(out, plan_of(clips)):
        pass


def test_a_folder_with_other_files_is_refused(tmp_path):
    clips, out = write_clips(tmp_path, 1), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(UsageError, match="other files"), open_store(out, plan_of(clips)):
        pass
    assert os.listdir(out) == ["notes.txt"]


def test_two_at_once_are_refused(tmp_path):
    plan = plan_of(write_clips(tmp_path, 1))
    with open_store(tmp_path / "out", plan):  # noqa: SIM117
        with pytest.raises(UsageError, match="another process"), open_store(tmp_path / "out", plan):
            pass
    with open_store(tmp_path / "out", plan):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    plan = plan_of(write_clips(tmp_path, 1))
    with pytest.raises(EnvironmentFailure), open_store(tmp_path / "00.mp4" / "out", plan):
        pass


class StubWindows:
    """Three windows, the second abstaining; then, where asked, a file that breaks off."""

    def __init__(self, path, breaks):
        self.path, self.breaks = path, breaks
        self.warnings, self.duration_s = [], 5.0
        self.media = SimpleNamespace(damaged_packets=0, missing_s=0.0)

    def __iter__(self):
        for i in range(3):
            probs = None if i == 1 else PROBS
            states = [Reason.NO_FACE, Reason.SILENT_AUDIO] if i == 1 else []
            boxes = np.array([[1, 2, 30, 40]], np.float32)[: int(i == 0)]
            yield WindowPrediction(
                float(i), i + 3.0, None if i == 1 else "happy", probs,
                [] if i == 1 else ["face"], states, 7, np.zeros(1), boxes,
            )  # fmt: skip
        self.warnings = ["known at the end"]
        if self.breaks:
            raise ClipError(self.path, Reason.TRUNCATED_CONTAINER, "it ends within a packet")


class StubPredictor:
    def __init__(self, folder: Path):
        self.bundle = SimpleNamespace(folder=folder)

    def predict(self, path):
        if not path.exists():
            raise ClipError(path, Reason.NOT_FOUND, f"no such file as {path.name}")
        return Prediction(path, "happy", PROBS, ["voice"], [Reason.NO_FACE], ["late"], 0, 9, 2.5)

    def predict_windows(self, path, window_s, hop_s):
        return StubWindows(path, path.stem == "breaks")


def make_answerer(folder: Path, windows=None, digest=None) -> ClipAnswerer:
    from keras_emo.inference.bundle import digest_file

    (folder / "bundle.json").write_text("{}")
    opened = []

    @contextmanager
    def open_predictor():
        opened.append(1)
        yield StubPredictor(folder)
        opened.pop()

    maker = Maker(digest or digest_file(folder / "bundle.json"))
    answerer = ClipAnswerer(open_predictor, maker, windows)
    answerer.opened = opened
    return answerer


def test_a_clip_is_one_row(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    answerer = make_answerer(tmp_path)
    said = answerer(clip)
    assert (said.error, said.degraded) == (None, True)
    (row,) = said.table.to_pylist()
    assert (row["window"], row["start_s"], row["end_s"], row["label"]) == (0, 0.0, 2.5, "happy")
    np.testing.assert_array_equal(np.float32([row[e] for e in EMOTIONS]), PROBS)
    assert (row["modalities"], row["states"], row["warnings"]) == (["voice"], ["no_face"], ["late"])
    assert (row["path"], row["size_bytes"], len(row["clip_digest"])) == (str(clip), 1, 24)
    assert (row["reason"], row["x_px"]) == (None, None)
    answerer(clip)
    assert answerer.opened == [1]  # once for all clips
    answerer.close()
    assert answerer.opened == []


def test_a_failed_clip_is_a_row_with_its_reason(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    said = make_answerer(tmp_path)(path)
    (row,) = said.table.to_pylist()
    assert row["path"] == f"{tmp_path}/\\udcff.mp4"
    assert (row["reason"], row["cause"]) == ("not_found", "no such file as \\udcff.mp4")
    assert {row[k] for k in ("label", "window", "start_s", "size_bytes", "clip_digest")} == {None}
    assert (type(said.error), said.error.reason) == (ClipError, Reason.NOT_FOUND)


def test_a_recording_is_a_row_a_window(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    said = make_answerer(tmp_path, (3.0, 1.0))(clip)
    rows = said.table.to_pylist()
    assert [(r["window"], r["start_s"], r["end_s"]) for r in rows] == [
        (0, 0, 3),
        (1, 1, 4),
        (2, 2, 5),
    ]
    assert [r["label"] for r in rows] == ["happy", None, "happy"]
    assert [r["happy"] is None for r in rows] == [False, True, False]
    assert [r["states"] for r in rows] == [[], ["no_face", "silent_audio"], []]
    assert [(r["face_id"], r["width_px"]) for r in rows] == [(7, 30.0), (None, None), (None, None)]
    assert {tuple(r["warnings"]) for r in rows} == {("known at the end",)}
    assert (said.error, said.degraded) == (None, True)


def test_windows_before_a_failure_are_kept(tmp_path):
    clip = tmp_path / "breaks.mp4"
    clip.write_bytes(b"x")
    said = make_answerer(tmp_path, (3.0, 1.0))(clip)
    reasons = said.table.column("reason").to_pylist()
    assert reasons == [None, None, None, "truncated_container"]
    assert said.table.column("warnings").to_pylist()[0] == ["known at the end"]
    assert said.error.reason is Reason.TRUNCATED_CONTAINER


def test_another_bundle_or_version_at_a_worker_ends_the_work(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    with pytest.raises(BundleError, match="another one"):
        make_answerer(tmp_path, digest="0" * 64)(clip)
    answerer = make_answerer(tmp_path)
    answerer.maker = Maker(answerer.maker.bundle, "0.0.0")
    with pytest.raises(EnvironmentFailure, match="a worker has version"):
        answerer(clip)


def open_nothing():
    raise AssertionError("not before the first clip")


def test_an_answerer_travels_without_its_predictor():
    there = pickle.loads(pickle.dumps(ClipAnswerer(open_nothing, MAKER, (3.0, 1.0))))
    assert (there.open_predictor, there.maker, there.windows) == (open_nothing, MAKER, (3.0, 1.0))


class StubRay:
    """Stands for _map: answers batches but those with a deadly job; and some of them twice."""

    def __init__(self, deadly=(), flaky=()):
        self.deadly, self.flaky, self.batches = set(deadly), set(flaky), []

    def __call__(self, cluster, function, jobs, batch):
        worker = work.Worker(pickle.dumps(function), 1)
        items = list(jobs.items())
        for start in range(0, len(items), batch):
            part = items[start : start + batch]
            values = {job[0] for _, job in part}
            self.batches.append(len(part))
            if values & (self.deadly | self.flaky):
                self.flaky -= values
                continue
            for i, job in part:
                for _ in range(1 + (i == 0)):
                    yield i, worker._attempt(pickle.dumps(job))


def run_stub(monkeypatch, stub, jobs, function=abs, workers=1):
    monkeypatch.setattr(work, "_map", stub)
    cluster = Cluster(workers, 1)
    return list(work.run_on_cluster(cluster, function, jobs, lambda value: f"gave up {value}"))


def test_what_a_dead_worker_had_is_tried_one_by_one(monkeypatch):
    jobs = [(-i,) for i in range(32)]
    stub = StubRay(deadly=[-5], flaky=[-20])
    done = run_stub(monkeypatch, stub, jobs)
    assert sorted(job[0] for job, _ in done) == sorted(job[0] for job in jobs)
    assert dict(done)[(-5,)] == "gave up -5"
    assert {result for job, result in done if job != (-5,)} == set(range(32)) - {5}
    assert stub.batches == [4] * 8 + [1] * 8


@pytest.mark.parametrize(("n", "workers", "size"), [(5, 2, 1), (64, 2, 4), (10_000, 3, 16)])
def test_batches_are_as_many_as_there_is_work_for(monkeypatch, n, workers, size):
    stub = StubRay()
    done = run_stub(monkeypatch, stub, [(i,) for i in range(n)], workers=workers)
    assert len(done) == n
    assert max(stub.batches) == size


def test_large_jobs_come_in_waves(monkeypatch):
    monkeypatch.setattr(work, "_WAVE", 10)
    done = run_stub(monkeypatch, StubRay(deadly=[3, 13]), [(i,) for i in range(25)])
    assert sorted(job[0] for job, _ in done) == list(range(25))
    assert [result for job, result in done if job[0] in (3, 13)] == ["gave up 3", "gave up 13"]


def refuse(value):
    raise BundleError("bundle", Reason.BAD_BUNDLE, f"{value} is no number")


def test_an_error_of_a_worker_is_raised_here(monkeypatch):
    with pytest.raises(BundleError, match="1 is no number"):
        run_stub(monkeypatch, StubRay(), [(1,)], refuse)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):  # a bug, with its traceback
        run_stub(monkeypatch, StubRay(), [(1, 0)], divmod)


def test_a_plan_is_written_before_the_work(tmp_path):
    plan = plan_of(write_clips(tmp_path, 3))
    with open_store(tmp_path / "out", plan):
        there = json.loads((tmp_path / "out" / PLAN).read_text())
    assert [s["clips"] for s in there["shards"]] == [2, 1]
    assert there["bundle"] == MAKER.bundle


def test_processes_of_a_process_are_found_and_ended():
    script = "import subprocess; subprocess.run(['sleep', '60'])"
    process = subprocess.Popen([sys.executable, "-c", script])
    others = list_family(os.getpid())
    while not any(p.name == "sleep" for p in list_family(process.pid)):
        assert process.poll() is None
    family = list_family(os.getpid()) - others | {p for p in others if p.pid == process.pid}
    assert {p.name for p in family} >= {"sleep"}
    end_family(family)
    process.wait(timeout=30)
    end_s = time.monotonic() + 30
    while any(map(is_alive, family)):  # a signal takes its time
        assert time.monotonic() < end_s
    end_family(family)  # nobody is there: nothing happens
