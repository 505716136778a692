"""keras-emo export on a trained run: int8 and waveform.onnx."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from .conftest import ROOT, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


def export(trained, *options) -> subprocess.CompletedProcess:
    command = [
        sys.executable, str(ROOT / "export.py"), "--run", str(trained.run), "--formats", "onnx",
        "--cache", str(trained.cache), *map(str, options),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_int8_bundle_serves(trained, tmp_path):
    done = export(
        trained, "--model", "fusion_multi_lstm", "--out", tmp_path / "b", "--quantize", "int8",
        "--data", trained.corpus, "--waveform", "--max-drop", "100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "val: accuracy" in done.stdout
    assert "test: accuracy" in done.stdout
    known = json.loads((tmp_path / "b/bundle.json").read_text())
    assert known["precision"] == "int8"
    split = json.loads((trained.run / "split.json").read_text())
    assert known["quantization"]["calibration"]["speakers"] == split["train"]
    clip = next((trained.corpus / "Actor_06").glob("*.mp4"))
    answer = run_cli("predict", clip, "--bundle", tmp_path / "b", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    (said,) = json.loads(answer.stdout)
    assert sum(said["probs"].values()) == pytest.approx(1, abs=1e-4)


def test_int8_needs_the_clips_of_the_run(trained, tmp_path):
    options = ("--model", "audio_cnn", "--out", tmp_path / "b", "--quantize", "int8")
    for given, cause in (((), "--data"), (("--model", "visual_alexnet", "--waveform"), "no sound")):
        refused = export(trained, *options, *given)
        assert refused.returncode == 2
        assert cause in refused.stderr
    shutil.copytree(trained.corpus, tmp_path / "corpus")
    next((tmp_path / "corpus/Actor_01").glob("*.mp4")).unlink()
    other = export(trained, *options, "--data", tmp_path / "corpus")
    assert other.returncode == 2
    assert "not those of the run" in other.stderr
    assert not (tmp_path / "b").exists()
