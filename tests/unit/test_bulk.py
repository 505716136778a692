"""Bulk prediction without Ray: rows, the folder of predictions, the commands."""

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from keras_emo import cli
from keras_emo.cli import predict as command
from keras_emo.data.cache import build_cache
from keras_emo.data.corpora import read_corpus
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.errors import BundleError, ClipError, EnvironmentFailure, Reason, UsageError
from keras_emo.inference import bundle as bundles
from keras_emo.inference.predict import ReadState, WindowStream
from keras_emo.inference.results import Damage, Face, FaceCount, Prediction
from keras_emo.io import digest_file
from keras_emo.labels import EMOTIONS
from keras_emo.scale.bulk import (
    JOB,
    SCHEMA,
    ClipPredictor,
    Job,
    Outcome,
    find_outcome,
    predict_into,
)
from keras_emo.spec import ClipSpec, FaceSpec

from .timelines import make_window

BUNDLE = Path(__file__).resolve().parents[2] / "saved_models/default"
WHOLE = Job("b" * 64)
DAMAGE = Damage(3, 0.5)
PROBS = dict(zip(EMOTIONS, (0.1, 0.2, 0.05, 0.4, 0.05, 0.1, 0.1), strict=True))


def write_clips(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i:02d}.mp4" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes(i + 1))
    return paths


def make_rows(path: Path) -> list[dict]:
    """A row with the path; a clip named 03 failed, 04 took too long, 05 has no face."""
    reason = {"03": "not_media", "04": "timeout"}.get(path.stem)
    row = {"path": str(path), "size_bytes": path.stat().st_size, "reason": reason, "cause": "noise"}
    states = ["no_face"] if path.stem == "05" else []
    return [{**row, "states": states, "damaged_packets": 0, "missing_s": 0.0}]


def predict(clips):
    for path in clips:
        yield path, make_rows(path)


def read_names(folder: Path) -> list[str]:
    return [Path(path).stem for path in pq.read_table(folder).column("path").to_pylist()]


def test_a_restart_predicts_only_the_rest(tmp_path, capsys):
    clips, out = write_clips(tmp_path, 8), tmp_path / "out"

    def stop_after_five(paths):
        yield from predict(paths[:5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_into(out, WHOLE, clips[:7], stop_after_five, 2)
    files = [f"predictions-{i:06d}.parquet" for i in range(3)]
    assert sorted(os.listdir(out)) == [JOB, *files]  # the third holds one clip
    err = capsys.readouterr().err
    assert "5 of 7 clips are predicted; run the same command again" in err
    assert [line for line in err.splitlines() if "error" in line] == [
        f"error: {str(clips[3])!r}: not_media: noise",
        f"error: {str(clips[4])!r}: timeout: noise",
    ]
    kept = {name: (out / name).stat().st_ino for name in files}
    given = []

    def record(paths):
        given.extend(paths)
        yield from predict(reversed(paths))

    counts = predict_into(out, WHOLE, [*reversed(clips), clips[2]], record, 2)
    assert given == clips[5:]  # the last one was added
    assert {name: (out / name).stat().st_ino for name in files} == kept
    assert sorted(read_names(out)) == [f"{i:02d}" for i in range(8)]
    assert counts == Counter(
        {Outcome.PREDICTED: 5, Outcome.FAILED: 1, Outcome.TIMED_OUT: 1, Outcome.DEGRADED: 1}
    )
    err = capsys.readouterr().err
    assert "5 of 8 clips were predicted before" in err
    assert "error: " not in err  # the first run reported both failures
    assert predict_into(out, WHOLE, clips, predict, 2) == counts


def test_damaged_files_and_changed_clips_are_errors(tmp_path):
    clips, out = write_clips(tmp_path, 3), tmp_path / "out"
    predict_into(out, WHOLE, clips, predict, 1)
    damaged = out / "predictions-000001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(UsageError, match="damaged; delete it"):
        predict_into(out, WHOLE, clips, predict, 1)
    damaged.unlink()
    predict_into(out, WHOLE, clips, predict, 1)
    assert sorted(read_names(out)) == ["00", "01", "02"]
    clips[1].write_bytes(bytes(99))
    with pytest.raises(UsageError, match=r"01\.mp4.*changed"):
        predict_into(out, WHOLE, clips, predict, 2)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Job("c" * 64), "bundle"),
        (Job("b" * 64, 2.0, 1.0), "window_s, hop_s"),
        (Job("b" * 64, sandbox=True, timeout_s=5.0), "sandbox, timeout_s"),
        (Job("b" * 64, version="0.0.1"), "version"),
    ],
)
def test_a_folder_of_another_job_is_refused(tmp_path, other, names):
    predict_into(tmp_path, WHOLE, [], predict)
    assert json.loads((tmp_path / JOB).read_text())["bundle"] == "b" * 64
    with pytest.raises(UsageError, match=f"another {names}; "):
        predict_into(tmp_path, other, [], predict)


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="other files"):
        predict_into(tmp_path, WHOLE, [], predict)
    assert os.listdir(tmp_path) == ["notes.txt"]
    with pytest.raises(EnvironmentFailure):
        predict_into(tmp_path / "notes.txt/out", WHOLE, [], predict)
    clips, out = write_clips(tmp_path, 1), tmp_path / "out"

    def use_it_again(paths):
        with pytest.raises(UsageError, match="another process"):
            predict_into(out, WHOLE, clips, predict)
        yield from predict(paths)

    assert predict_into(out, WHOLE, clips, use_it_again).total() == 1
    (out / JOB).write_text("[]")
    with pytest.raises(UsageError, match=JOB):
        predict_into(out, WHOLE, clips, predict)


def stream_windows(path: Path):
    """Three windows, the second without a prediction; a file named breaks ends in an error."""
    yield None, ReadState()
    for i in range(3):
        abstains = i == 1 or path.stem == "empty"
        window = make_window(
            float(i), None if abstains else [*PROBS.values()], modalities=("face",),
            states=(Reason.NO_FACE, Reason.SILENT_AUDIO) if abstains else (),
            face=Face(7, (1.0, 2.0, 30.0, 40.0)) if i == 0 else None,
        )  # fmt: skip
        yield window, ReadState(5.0, 5.0, Damage(), ("known at the end",))
    if path.stem == "breaks":
        raise ClipError(path, Reason.TRUNCATED_CONTAINER, "it ends within a packet")


class StubModel:
    """Predicts every clip but bad."""

    def __init__(self, folder: Path, states=(Reason.NO_FACE,), damage=DAMAGE):
        self.bundle, self.states, self.damage = SimpleNamespace(folder=folder), states, damage
        self.closed = False

    def predict(self, path):
        if path.stem == "bad" or not path.exists():
            raise ClipError(path, Reason.NOT_MEDIA, f"noise in {path.name}")
        return Prediction(
            str(path), "happy", 0.4, PROBS, ("voice",), self.states,
            FaceCount(0, 9), 2.5, self.damage, ("late",),
        )  # fmt: skip

    def stream(self, path, window_s, hop_s):
        return WindowStream(path, window_s, hop_s, stream_windows(path))

    def close(self):
        self.closed = True


def make_predictor(folder: Path, **job) -> tuple[ClipPredictor, list[StubModel]]:
    (folder / "bundle.json").write_text("{}")
    loaded = []

    def load():
        loaded.append(StubModel(folder))
        return loaded[-1]

    digest = digest_file(folder / "bundle.json")
    return ClipPredictor(load, Job(**{"bundle": digest, **job})), loaded


def test_a_clip_is_one_row(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    predictor, loaded = make_predictor(tmp_path)
    rows = predictor(clip)
    assert find_outcome(rows) is Outcome.DEGRADED
    (row,) = rows
    assert (row["window"], row["start_s"], row["end_s"], row["label"]) == (0, 0.0, 2.5, "happy")
    np.testing.assert_allclose([row[e] for e in EMOTIONS], list(PROBS.values()), atol=1e-6)
    assert (row["modalities"], row["states"], row["warnings"]) == (["voice"], ["no_face"], ["late"])
    assert (row["frames_with_face"], row["frames_examined"]) == (0, 9)
    assert (row["duration_s"], row["damaged_packets"], row["missing_s"]) == (2.5, 3, 0.5)
    assert (row["path"], row["size_bytes"], len(row["clip_digest"])) == (str(clip), 1, 24)
    assert (row.get("reason"), row.get("x_px")) == (None, None)
    assert list(predictor.predict_all([clip])) == [(clip, rows)]
    assert [model.closed for model in loaded] == [True]  # one model for both


def test_a_failed_clip_is_a_row_with_its_reason(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    predictor, _ = make_predictor(tmp_path)
    rows = predictor(path)
    assert find_outcome(rows) is Outcome.FAILED
    (row,) = rows
    assert row["path"] == f"{tmp_path}/\\udcff.mp4"
    assert (row["reason"], row["cause"]) == ("not_media", "noise in \\udcff.mp4")
    names = ("label", "window", "start_s", "size_bytes", "clip_digest")
    assert {row.get(name) for name in names} == {None}
    (row,) = predictor.report_death(path)
    assert (row["path"], row["reason"]) == (f"{tmp_path}/\\udcff.mp4", "worker_died")


def test_a_recording_is_a_row_per_window(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    rows = make_predictor(tmp_path, window_s=3.0, hop_s=1.0)[0](clip)
    times = [(r["window"], r["start_s"], r["end_s"]) for r in rows]
    assert times == [(0, 0, 3), (1, 1, 4), (2, 2, 5)]
    assert [r["label"] for r in rows] == ["happy", None, "happy"]
    assert [r["happy"] for r in rows] == [0.4, None, 0.4]
    assert [r["states"] for r in rows] == [[], ["no_face", "silent_audio"], []]
    faces = [(r.get("face_id"), r.get("width_px"), r.get("height_px")) for r in rows]
    assert faces == [(7, 30.0, 40.0), (None, None, None), (None, None, None)]
    assert {tuple(r["warnings"]) for r in rows} == {("known at the end",)}
    assert find_outcome(rows) is Outcome.DEGRADED


def test_windows_before_a_failure_are_kept(tmp_path):
    predictor, _ = make_predictor(tmp_path, window_s=3.0, hop_s=1.0)
    for name, reason in (("breaks", "truncated_container"), ("empty", "no_modality")):
        rows = predictor(tmp_path / f"{name}.mp4")
        assert [r.get("reason") for r in rows] == [None, None, None, reason]
        assert rows[0]["warnings"] == ["known at the end"]
        assert find_outcome(rows) is Outcome.FAILED


def test_a_worker_with_another_bundle_or_version_ends_the_work(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    with pytest.raises(BundleError, match="not the bundle"):
        make_predictor(tmp_path, bundle="0" * 64)[0](clip)
    with pytest.raises(EnvironmentFailure, match="a worker has version"):
        make_predictor(tmp_path, version="0.0.0")[0](clip)


def test_units_are_in_the_file(tmp_path):
    predict_into(tmp_path / "out", WHOLE, write_clips(tmp_path, 1), predict, 2)
    read = pq.read_schema(tmp_path / "out/predictions-000000.parquet")
    assert read.names == SCHEMA.names
    assert set(EMOTIONS) < set(read.names)
    for field in read:
        assert field.metadata[b"meaning"]
        for suffix, unit in (("_s", b"s"), ("_px", b"px"), ("_bytes", b"byte")):
            if field.name.endswith(suffix):
                assert field.metadata[b"unit"] == unit


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The command on clips in a folder; its attributes are the folders and the loaded models."""
    (tmp_path / "bundle.json").write_text("{}")
    loaded, clips, out = [], tmp_path / "clips", tmp_path / "out"

    def load(options):
        loaded.append(StubModel(tmp_path, (), Damage()))
        return loaded[-1]

    bundle = SimpleNamespace(folder=tmp_path, spec=ClipSpec())
    monkeypatch.setattr(bundles, "load_bundle", lambda folder: bundle)
    monkeypatch.setattr(command, "open_model", load)
    clips.mkdir()
    write_clips(clips, 3)

    def run_command(*options):
        words = ["predict", str(clips), "--format", "parquet", "--out", str(out)]
        return cli.main([*words, "--shard-clips", "2", *options])

    run_command.clips, run_command.out, run_command.loaded = clips, out, loaded
    return run_command


def test_the_command_fills_a_folder(run, capsys):
    assert run() == 0
    assert pq.read_table(run.out).column("path").to_pylist() == [
        f"{run.clips}/{n}.mp4" for n in ("00", "01", "02")
    ]
    assert run() == 0
    assert len(run.loaded) == 1  # a second model was not needed
    assert "3 of 3 clips were predicted before" in capsys.readouterr().err


def test_a_failed_clip_is_partial_also_after_a_restart(run, capsys):
    (run.clips / "bad.mp4").write_bytes(b"x")
    for _ in range(2):
        assert run() == 4
        assert "3 predicted, 1 rejected" in capsys.readouterr().err
    for path in run.clips.glob("0?.mp4"):
        path.unlink()
    assert run() == 3
    assert run("--timeline") == 2
    assert "predictions with another window_s, hop_s" in capsys.readouterr().err


def test_rows_of_windows_are_those_of_the_plain_command(make, tmp_path):
    clip = make.video(tmp_path / "a.mp4", make.grey_frames(60), sound=make.sine(2.0))
    words = ["predict", str(clip), "--bundle", str(BUNDLE), "--timeline", "--window-s", "1"]
    words += ["--hop-s", "0.5", "--threads", "1"]
    codes = {
        cli.main([*words, "--format", form, "--out", str(tmp_path / form)])
        for form in ("json", "parquet")
    }
    assert codes == {4}  # no face
    (plain,) = json.loads((tmp_path / "json").read_text())
    rows = pq.read_table(tmp_path / "parquet").to_pylist()
    assert [r["window"] for r in rows] == list(range(len(plain["windows"])))
    assert len(rows) >= 3
    for row, window in zip(rows, plain["windows"], strict=True):
        assert {k: row[k] for k in ("label", "modalities", "states")}.items() <= window.items()
        times_s = [window["start_s"], window["end_s"], plain["duration_s"]]
        found_s = [row[key] for key in ("start_s", "end_s", "duration_s")]
        assert found_s == pytest.approx(times_s, abs=1e-3)
        probs = {emotion: row[emotion] for emotion in EMOTIONS}
        assert probs == pytest.approx(window["probs"], abs=1e-6)


FOLDER = ["--format", "parquet", "--out", "o"]


PARQUET = ["--format", "parquet", "--out", "o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "a", "--engine", "ray"], "'--engine ray': bad_config: goes with --format"),
        (
            ["predict", "a", "--format", "parquet"],
            "'--format parquet': bad_config: goes with --out",
        ),
        (["predict", "a", "--workers", "2"], "'--workers': bad_config: goes with --engine ray"),
        (["predict", "a", "--address", "x:1"], "'--address': bad_config: goes with --engine ray"),
        (["predict", "a", "--shard-clips", "2"], "'--shard-clips': bad_config: goes with --format"),
        (["predict", "a", *PARQUET, "--workers", "2"], "'--workers': bad_config"),
        (["predict", "a", *PARQUET, "--timeline", "--plot", "p"], "'--plot': bad_config"),
        (["predict", "a", *PARQUET, "--hop-s", "1"], "'--hop-s': bad_config"),
        (["preprocess", "--data", "d", "--address", "x:1"], "'--address': bad_config: goes with"),
        (["preprocess", "--data", "d", "--config", "no.toml"], "'no.toml': not_found"),
    ],
)
def test_options_without_effect_are_refused(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_preprocess_fills_the_cache_of_train(tmp_path, capsys):
    spec = BuiltinSpec(
        n_speakers=1, n_statements=1, strong=False, min_duration_s=0.6, max_duration_s=0.8
    )
    corpus, cache = build_corpus(tmp_path / "corpus", spec, 1), tmp_path / "cache"
    (tmp_path / "config.toml").write_text("[clip.face]\nsize_px = 32\n")
    words = ["preprocess", "--data", str(corpus), "--cache", str(cache), "--workers", "1"]
    words += ["--config", str(tmp_path / "config.toml")]
    samples = read_corpus(corpus).samples
    n = len(samples)
    for n_now in (n, 0):
        assert cli.main(words) == 0
        assert capsys.readouterr().out == f"{n} of {n} clips prepared, {n_now} of them now\n"
    report = build_cache(samples, ClipSpec(face=FaceSpec(size_px=32)), cache, 1)
    assert (len(report.files), report.computed) == (n, 0)
