"""Clips in, networks trained in two stages, bundles out, predictions without TensorFlow."""

from __future__ import annotations

import csv
import fcntl
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_emo import load
from keras_emo.cli import main
from keras_emo.data.cache import build_cache, load_clip
from keras_emo.data.corpora import read_corpus
from keras_emo.errors import ExitCode
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec

from .conftest import run_cli

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

NETWORKS = (
    "visual_alexnet", "audio_cnn", "audio_lstm", "fusion_concat", "fusion_single_cnn",
    "fusion_single_lstm", "fusion_multi_cnn", "fusion_multi_lstm",
)  # fmt: skip


@pytest.fixture
def refuse(trained, capsys):
    """What train.py reports of options that it refuses, in this process."""

    def call(*options: str, out: Path | None = None) -> str:
        assert main(["train", *trained.command(*options, out=out)[2:]]) == ExitCode.USAGE
        return capsys.readouterr().err

    return call


def test_run_folder_holds_what_a_reader_needs(trained):
    split = json.loads((trained.run / "split.json").read_text())
    assert split["test"] == ["builtin/06"]
    assert split["val"] == ["builtin/04", "builtin/05"]
    assert not set(split["train"]) & {*split["val"], *split["test"]}
    summary = (trained.run / "summary.md").read_text()
    for name in NETWORKS:
        folder = trained.run / name
        metrics = json.loads((folder / "metrics.json").read_text())
        for part, n in (("val", 16), ("test", 8)):
            assert metrics[part]["n_clips"] == n
            for key in ("accuracy", "uar", "macro_f1", "interval_95", "recall", "confusion"):
                assert key in metrics[part]
            assert (folder / f"confusion_{part}.png").stat().st_size > 1000
        assert (folder / "curves.png").stat().st_size > 1000
        assert list((folder / "tensorboard").rglob("events*"))
        assert not list(folder.glob("epoch-*"))
        assert f"| {name} | test |" in summary


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("fusion")])
def test_a_fusion_predicts_what_its_head_did_in_training(trained, name):
    rows = list(csv.DictReader((trained.run / name / "history.csv").open()))
    metrics = json.loads((trained.run / name / "metrics.json").read_text())
    best = max(rows, key=lambda r: (float(r["val_uar"]), -float(r["val_loss"])))
    assert metrics["val"]["uar"] == pytest.approx(float(best["val_uar"]), abs=1e-6)
    assert metrics["val"]["accuracy"] == pytest.approx(float(best["val_accuracy"]), abs=1e-6)


def test_same_command_does_nothing_again(trained):
    before = {p: p.stat().st_mtime_ns for p in trained.run.glob("*/model.keras")}
    again = trained.train()
    assert again.returncode == 0, again.stderr
    assert "1/2" not in again.stdout
    assert {p: p.stat().st_mtime_ns for p in trained.run.glob("*/model.keras")} == before


def test_a_stage_stopped_while_scored_is_only_scored_again(trained):
    folder = trained.run / "audio_cnn"
    before = (folder / "metrics.json").read_bytes()
    weights = (folder / "model.keras").stat().st_mtime_ns
    (folder / "metrics.json").unlink()
    again = trained.train()
    assert again.returncode == 0, again.stderr
    assert (folder / "model.keras").stat().st_mtime_ns == weights
    assert (folder / "metrics.json").read_bytes() == before


def test_pretraining_on_class_named_pictures(trained, refuse, tmp_path):
    """FER2013's layout: grey 48x48 pictures by class; the face network starts from the result."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(EMOTIONS):
        (tmp_path / "faces/train" / name).mkdir(parents=True)
        for i in range(12):
            picture = np.clip(rng.normal(30 * label + 20, 10, (48, 48)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "faces/train" / name / f"{i:04d}.png"), picture)
    (tmp_path / "faces/train/happy/copy.png").write_bytes(
        (tmp_path / "faces/train/happy/0000.png").read_bytes()
    )
    options = ("--pretrain-data", str(tmp_path / "faces"), "--epochs", "1")
    done = trained.train(*options, "--stages", "visual_alexnet", out=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    known = json.loads((tmp_path / "run/pretrain/metrics.json").read_text())
    assert known["n_train"] + known["n_val"] == 84  # the copy counts once
    metrics = json.loads((tmp_path / "run/visual_alexnet/metrics.json").read_text())
    assert metrics["pretrained"] == f"{known['n_train']} pictures of faces"
    (tmp_path / "faces/train/happy/0000.png").unlink()
    error = refuse(*options, "--stages", "visual_alexnet", out=tmp_path / "run")
    assert "start.pretrain_data" in error


def test_a_run_is_resumed_only_as_it_was_started(trained, refuse, tmp_path):
    error = refuse("--seed", "4")
    assert "bad_config" in error
    assert "config.seed is 3, asked 4" in error
    corpus = shutil.copytree(trained.corpus, tmp_path / "corpus")
    next((corpus / "Actor_01").glob("*.mp4")).unlink()
    assert "clips is" in refuse("--data", str(corpus))
    with open(trained.run / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in refuse()


def test_a_fusion_alone_names_the_missing_stage(refuse, tmp_path):
    error = refuse("--stages", "fusion_concat", out=tmp_path / "run")
    assert "missing_stage" in error
    assert "visual_alexnet" in error


@pytest.mark.parametrize("name", NETWORKS)
def test_bundle_predicts_like_keras(trained, bundles, tmp_path, name):
    """evaluate, without TensorFlow and from the files, agrees clip by clip with training."""
    scores = tmp_path / "scores.json"
    done = run_cli(
        "evaluate", "--data", trained.corpus, "--bundle", bundles / name,
        "--speakers", "test", "--json", scores,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "say nothing about people" in done.stdout
    figures = json.loads(scores.read_text())
    known = {
        r["sample_id"]: r
        for r in csv.DictReader((trained.run / name / "predictions_test.csv").open())
    }
    assert {c["sample_id"] for c in figures["clips"]} == set(known)
    for clip in figures["clips"]:
        expected = [float(known[clip["sample_id"]][e]) for e in EMOTIONS]
        np.testing.assert_allclose(clip["probs"], expected, atol=2e-4)
    metrics = json.loads((trained.run / name / "metrics.json").read_text())["test"]
    for key in ("accuracy", "uar", "macro_f1"):
        assert figures[key] == pytest.approx(metrics[key], abs=1e-9)


def test_the_cache_holds_what_a_model_prepares(trained, bundles):
    """One transform, for training and for a prediction, with the bundle's own spec and detector."""
    predictor = load(bundles / "fusion_multi_cnn", threads=1)
    samples = read_corpus(trained.corpus).samples[:3]
    files = build_cache(samples, ClipSpec(), trained.cache, workers=1)
    assert files.computed == 0
    for sample in samples:
        cached, seen = load_clip(files.files[sample.sample_id]), predictor.prepare(sample.source)
        np.testing.assert_array_equal(cached.face, seen.face)
        np.testing.assert_array_equal(cached.face_found, seen.face_found)
        np.testing.assert_array_equal(cached.mfcc, seen.mfcc)
    assert predictor.bundle.detector_folder.is_relative_to(bundles)


def test_eight_threads_predict_the_same(trained, bundles):
    clip = next((trained.corpus / "Actor_01").glob("*.mp4"))
    results = [load(bundles / "fusion_concat", threads=n).predict(clip) for n in (1, 8)]
    assert results[0].probs == pytest.approx(results[1].probs, abs=1e-4)


def test_readme_commands_are_those_of_the_demo():
    root = Path(__file__).resolve().parents[2]
    blocks = (root / "README.md").read_text().split("<!-- demo -->\n```sh\n")[1:]
    shown = "".join(block.split("```")[0] for block in blocks)
    recipe = (root / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]
    run = recipe.replace("$(BIN)/", "").replace("$(DEMO)", ".demo")
    commands = [line.strip() for line in run.splitlines()[1:]]
    assert commands == shown.strip().splitlines()
