"""Several seeds in one command; and no figure of training rests on a test clip."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_emo.errors import ExitCode, UsageError

from .conftest import ROOT, run_cli

keras = pytest.importorskip("keras")
pytest.importorskip("keras_emo.networks.clip")  # registers the layers that saved networks name
pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

SMALL = """
[run]
test = ["6"]
val = ["4", "5"]
stages = ["visual_residual", "audio_tdnn", "fusion_joint"]
deterministic = true

[waves]
n_variants = 0

[mfcc]
time_scale = 0.1
mel_shift = 0.03
mel_mask = 0.1
gain_db = 4.0
floor_db = 20.0

[model.visual_residual]
width = 0.2
[model.audio_tdnn]
units = 16
top_units = 16
[model.fusion_joint]
units = 8

[stage.visual_residual]
epochs = 1
[stage.audio_tdnn]
epochs = 2
[stage.fusion_joint]
epochs = 2
passes = 1
"""


def export(*options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "export.py"), "--formats", "onnx", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def check_ended(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stderr[-3000:]


def measure_accuracy(trained, bundle) -> float:
    """Accuracy of a bundle on the test speakers, without the training packages."""
    scores = trained.root / "scores.json"
    check_ended(run_cli(
        "evaluate", "--data", trained.corpus, "--bundle", bundle, "--speakers", "test",
        "--json", scores,
    ))  # fmt: skip
    return json.loads(scores.read_text())["accuracy"]


@pytest.fixture(scope="module")
def seeds(trained):
    """Two seeds over the shared corpus and cache."""
    config = trained.root / "small.toml"
    config.write_text(SMALL, encoding="utf-8")
    out = trained.root / "seeds"
    done = trained.train("--config", str(config), "--seeds", "0,1", out=out)
    assert done.returncode == 0, done.stderr[-3000:]
    return config, out, done.stdout


def test_table_holds_each_seed_and_their_average(seeds):
    _, out, printed = seeds
    table = json.loads((out / "table.json").read_text())
    assert set(table) == {"visual_residual", "audio_tdnn", "fusion_joint"}
    row = table["fusion_joint"]
    for seed, score in row["folds"]["None"]["seeds"].items():
        metrics = json.loads((out / f"seed{seed}" / "fusion_joint" / "metrics.json").read_text())
        assert metrics["test"]["accuracy"] == pytest.approx(score)
    assert row["all"]["n_clips"] == 8
    assert row["single_mean"] == pytest.approx(
        np.mean(list(row["folds"]["None"]["seeds"].values()))
    )
    assert "| fusion_joint |" in printed
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")


def test_seeds_become_one_bundle_that_answers_as_the_table_says(trained, seeds):
    _, out, _ = seeds
    bundle = trained.root / "both"
    check_ended(export(
        "--run", out / "seed0", out / "seed1", "--model", "fusion_joint",
        "--table", out / "table.json", "--out", bundle,
    ))  # fmt: skip
    row = json.loads((out / "table.json").read_text())["fusion_joint"]
    assert measure_accuracy(trained, bundle) == pytest.approx(row["fold_mean"])
    info = json.loads((bundle / "bundle.json").read_text())
    assert info["metrics"]["folds"]["n_seeds"] == 2
    assert len(info["corpus"]["split"]["members"]) == 2
    assert not set(info["corpus"]["split"]["train"]) & set(info["corpus"]["split"]["test"])
    assert "networks trained in the same way" in (bundle / "README.md").read_text()


def test_no_figure_of_training_rests_on_a_test_clip(trained, seeds):
    config, out, _ = seeds
    poisoned = trained.root / "poisoned"
    shutil.copytree(trained.cache, poisoned)
    n_changed = 0
    for path in poisoned.glob("clips-*/*.npz"):
        with np.load(path, allow_pickle=False) as data:
            arrays = dict(data)
        if json.loads(str(arrays["info"]))["sample_id"].endswith("-06"):
            arrays["face"] = np.full_like(arrays["face"], 255)
            arrays["mfcc"] = np.full_like(arrays["mfcc"], -400.0)
            np.savez(path, **arrays)
            n_changed += 1
    assert n_changed >= 8
    again = trained.root / "canary"
    done = trained.train(
        "--config", str(config), "--seeds", "0", "--cache", str(poisoned), out=again
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("visual_residual", "audio_tdnn", "fusion_joint"):
        here, there = again / "seed0" / name, out / "seed0" / name
        ours = json.loads((here / "metrics.json").read_text())
        theirs = json.loads((there / "metrics.json").read_text())
        assert ours["val"] == theirs["val"]
        mine = keras.saving.load_model(here / "model.keras", compile=False).get_weights()
        other = keras.saving.load_model(there / "model.keras", compile=False).get_weights()
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a, b)
        assert (here / "predictions_test.csv").read_text() != (
            there / "predictions_test.csv"
        ).read_text()


def read_val(run) -> list[str]:
    return json.loads((run / "split.json").read_text())["val"]


def test_everybody_trains_where_nobody_validates(trained, seeds):
    config, out, _ = seeds
    run = trained.root / "refit"
    stages = ("visual_residual", "audio_tdnn", "fusion_joint", "fusion_multi_tdnn")
    command = ("--config", str(config), "--val", "none", "--stages", ",".join(stages))
    done = trained.train(*command, out=run)
    check_ended(done)
    split = json.loads((run / "split.json").read_text())
    before = json.loads((out / "seed0" / "split.json").read_text())
    assert split["val"] == []
    assert split["train"] == sorted(before["train"] + before["val"])
    for name in stages:
        metrics = json.loads((run / name / "metrics.json").read_text())
        assert "val" not in metrics
        assert metrics["test"]["n_clips"] == 8
    assert not metrics["fitted_on_val"]  # both count alike
    for name in stages[:3]:
        with open(run / name / "history.csv", newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        assert {"epoch", "loss"} == set(rows[0])
    assert "| test |" in (run / "summary.md").read_text()
    again = trained.train(*command, out=run)
    assert again.returncode == 0, again.stderr[-3000:]

    check_ended(export("--run", run, "--model", "fusion_multi_tdnn", "--out", run / "bundle"))
    assert "Validation: none." in (run / "bundle" / "README.md").read_text()

    smaller = ("--run", run, "--model", "fusion_joint", "--quantize", "int8", "--data",
               trained.corpus, "--cache", trained.cache, "--max-drop", "20",
               "--out", run / "int8")  # fmt: skip
    done = export(*smaller)
    assert done.returncode == ExitCode.USAGE
    assert "--reference-run" in done.stderr
    check_ended(export(*smaller, "--reference-run", out / "seed0", out / "seed1"))
    known = json.loads((run / "int8" / "bundle.json").read_text())["quantization"]
    assert known["references"]["n_networks"] == 2
    held_out = {s for i in (0, 1) for s in read_val(out / f"seed{i}")}
    assert known["references"]["speakers"] == sorted(held_out)
    assert known["accuracy"]["val"]["n_clips"] == 8 * len(read_val(out / "seed0")) * 2
    assert "The row val is of 2 reference models" in (run / "int8" / "README.md").read_text()


def test_a_clip_head_stands_on_given_weights(trained, seeds):
    config, out, _ = seeds
    run, stages = trained.root / "clip_head", (
        "visual_residual", "visual_clip", "visual_ensemble", "audio_tdnn", "fusion_ensemble_tdnn",
    )  # fmt: skip
    start = out / "seed0" / "visual_residual" / "model.keras"
    command = ("--config", str(config), "--stages", ",".join(stages))
    refused = trained.train(*command, out=run)
    assert refused.returncode == ExitCode.USAGE
    assert "--pretrain-data" in refused.stderr
    shutil.rmtree(run)
    done = trained.train(*command, "--init-from", str(start), out=run)
    assert done.returncode == 0, done.stderr[-3000:]
    clip = keras.saving.load_model(run / "visual_clip" / "model.keras", compile=False)
    given = keras.saving.load_model(start, compile=False)
    for layer in [each for each in clip.get_layer("backbone").layers if each.weights]:
        there = given.get_layer(layer.name).get_weights()
        for a, b in zip(layer.get_weights(), there, strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.abs(clip.get_layer("statistics").mean.numpy()).max() > 0.01
    metrics = json.loads((run / "visual_clip" / "metrics.json").read_text())
    assert metrics["pretrained"] == "the weights in model.keras"
    assert json.loads((run / "fusion_ensemble_tdnn" / "metrics.json").read_text())["fitted_on_val"]
    check_ended(export("--run", run, "--model", stages[-1], "--out", run / "bundle"))
    kept = json.loads((run / stages[-1] / "metrics.json").read_text())["test"]
    assert measure_accuracy(trained, run / "bundle") == pytest.approx(kept["accuracy"])


def test_runs_are_planned_seed_after_seed(tmp_path):
    from keras_emo.training.folds import plan_runs

    plans = plan_runs(tmp_path, (0, 1), (0, 4))
    assert [(p.fold, p.seed) for p in plans] == [(0, 0), (4, 0), (0, 1), (4, 1)]
    assert plans[1].folder == tmp_path / "fold4" / "seed0"
    assert [p.folder.name for p in plan_runs(tmp_path, (2,), None)] == ["seed2"]
    with pytest.raises(UsageError, match="no fold 5"):
        plan_runs(tmp_path, (0,), (5,))
