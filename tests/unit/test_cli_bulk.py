"""keras-emo predict --format parquet in this process, keras-emo preprocess, their options."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from keras_emo import cli
from keras_emo.cli import predict
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.errors import ClipError, Reason
from keras_emo.inference import bundle as bundles
from keras_emo.inference.results import Damage, FaceCount, Prediction
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec, FaceSpec

BUNDLE = Path(__file__).resolve().parents[2] / "saved_models/default"


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """A bundle folder and clips; bad is not media, stop is the user's Ctrl-C."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    bundle = SimpleNamespace(folder=folder, spec=ClipSpec())
    loaded = []

    class StubModel:
        def __init__(self, options):
            self.bundle = bundle
            loaded.append(options.threads)

        def predict(self, path):
            if path.stem == "bad":
                raise ClipError(path, Reason.NOT_MEDIA, "noise")
            if path.stem == "stop":
                raise KeyboardInterrupt
            probs = dict.fromkeys(EMOTIONS, 1 / 7)
            return Prediction(
                str(path), "happy", 1 / 7, probs, ("face", "voice"), (), FaceCount(4, 4), 1.0,
                Damage(), (),
            )  # fmt: skip

        def close(self):
            pass

    monkeypatch.setattr(bundles, "load_bundle", lambda folder: bundle)
    monkeypatch.setattr(predict, "open_model", StubModel)
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in "abc":
        (clips / f"{name}.mp4").write_bytes(b"x")
    return SimpleNamespace(clips=clips, out=tmp_path / "out", loaded=loaded)


def run(stub, *options):
    command = ["predict", str(stub.clips), "--format", "parquet", "--out", str(stub.out)]
    return cli.main([*command, "--shard-clips", "2", *options])


def test_predictions_go_into_a_folder(stub, capsys):
    assert run(stub) == 0
    table = pq.read_table(stub.out)
    assert table.column("path").to_pylist() == [f"{stub.clips}/{n}.mp4" for n in "abc"]
    assert stub.loaded == [0]
    assert run(stub) == 0  # all is there: no model is loaded
    assert stub.loaded == [0]
    assert "3 of 3 clips were predicted before" in capsys.readouterr().err


def test_a_failed_clip_is_partial_also_after_a_restart(stub, capsys):
    (stub.clips / "bad.mp4").write_bytes(b"x")
    for _ in range(2):
        assert run(stub) == 4
        assert "3 predicted, 1 rejected" in capsys.readouterr().err
    for path in stub.clips.glob("?.mp4"):
        path.unlink()
    assert run(stub) == 3
    assert run(stub, "--timeline") == 2
    assert "predictions with another window_s, hop_s" in capsys.readouterr().err


def test_an_interrupt_leaves_what_is_done(stub, capsys):
    (stub.clips / "stop.mp4").write_bytes(b"x")
    assert run(stub) == 130
    err = capsys.readouterr().err.splitlines()
    line = "3 of 4 clips are predicted; run the same command again for the rest"
    assert err[-2:] == [line, "stopped"]
    assert len(pq.read_table(stub.out)) == 3


def test_rows_of_windows_are_those_of_the_plain_command(make, tmp_path):
    clip = make.video(tmp_path / "a.mp4", make.grey_frames(60), sound=make.sine(2.0))
    command = ["predict", str(clip), "--bundle", str(BUNDLE), "--timeline", "--window-s", "1"]
    command += ["--hop-s", "0.5", "--threads", "1"]
    codes = {
        cli.main([*command, "--format", form, "--out", str(tmp_path / form)])
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "ray"], "'--engine ray': bad_config: goes with --format parquet --out"),
        (["--format", "parquet"], "'--format parquet': bad_config: goes with --out"),
        (["--workers", "2"], "'--workers': bad_config: goes with --engine ray"),
        (["--address", "x:1"], "'--address': bad_config: goes with --engine ray"),
        (["--shard-clips", "2"], "'--shard-clips': bad_config: goes with --format parquet"),
        ([*FOLDER, "--workers", "2"], "'--workers': bad_config"),
        ([*FOLDER, "--timeline", "--plot", "p"], "'--plot': bad_config"),
        ([*FOLDER, "--hop-s", "1"], "'--hop-s': bad_config"),
    ],
)
def test_options_without_effect_are_refused(options, message, capsys):
    assert cli.main(["predict", "a.mp4", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_preprocess_fills_the_cache_of_train(tmp_path, capsys):
    from keras_emo.data.cache import build_cache
    from keras_emo.data.corpora import read_corpus

    spec = BuiltinSpec(1, 1, strong=False, min_duration_s=0.6, max_duration_s=0.8)
    corpus, cache = build_corpus(tmp_path / "corpus", spec, 1), tmp_path / "cache"
    config = tmp_path / "config.toml"
    config.write_text("[clip.face]\nsize_px = 32\n")
    command = ["preprocess", "--data", str(corpus), "--cache", str(cache), "--workers", "1"]
    command += ["--config", str(config)]
    samples = read_corpus(corpus).samples
    n = len(samples)
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"{n} of {n} clips prepared, {n} of them now\n"
    report = build_cache(samples, ClipSpec(face=FaceSpec(size_px=32)), cache, 1)
    assert (len(report.files), report.computed) == (n, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "x:1"], "'--address': bad_config: goes with --engine ray"),
        (["--config", "no.toml"], "'no.toml': not_found"),
    ],
)
def test_preprocess_refuses(options, message, capsys):
    assert cli.main(["preprocess", "--data", "d", *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
