"""Clips, folders and bundles that cannot be used: one clear line and an exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_emo.media.reader import read_media

from .conftest import ROOT, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def clips(trained, make, tmp_path_factory) -> dict[str, Path]:
    """A good clip, the same without sound and without frames, one without a face, an empty file."""
    folder = tmp_path_factory.mktemp("clips")
    good = next((trained.corpus / "Actor_06").glob("*.mp4"))
    shutil.copy(good, folder / "good.mp4")
    media = read_media(good, frame_rate_hz=30.0)
    make.video(folder / "silent.mp4", [f.rgb for f in media.frames])
    make.wav(folder / "voice.wav", media.waveform, media.sample_rate_hz)
    make.video(folder / "faceless.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 45)
    (folder / "empty.mp4").touch()
    (folder / "none").mkdir()
    return {p.stem: p for p in folder.iterdir()}


def check_error(done, code: int, path: Path, reason: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if reason in line]
    assert len(lines) == 1, done.stderr
    assert path.name in lines[0]


def test_folder_without_clips(bundles, clips):
    bundle = bundles / "audio_cnn"
    for command in (["predict"], ["evaluate", "--data"]):
        done = run_cli(*command, clips["none"], "--bundle", bundle)
        check_error(done, 2, clips["none"], "no_clips")
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(clips["none"]), "--out",
               str(clips["none"].parent / "run")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    check_error(done, 2, clips["none"], "no_clips")


@pytest.mark.parametrize(
    ("clip", "network", "reason"),
    [
        ("empty", "audio_cnn", "empty_file"),
        ("silent", "audio_cnn", "no_audio"),
        ("faceless", "visual_alexnet", "no_face"),
        ("voice", "visual_alexnet", "no_video"),
        ("faceless", "fusion_multi_cnn", "no_modality"),
    ],
)
def test_what_a_network_cannot_use_is_rejected(bundles, clips, clip, network, reason):
    done = run_cli("predict", clips[clip], "--bundle", bundles / network)
    check_error(done, 3, clips[clip], reason)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("clip", "used", "state"), [("silent", "face", "no_audio"), ("voice", "voice", "no_video")]
)
def test_a_fusion_predicts_from_the_other_modality_and_warns(bundles, clips, clip, used, state):
    bundle = bundles / "fusion_multi_lstm"
    done = run_cli("predict", clips[clip], "--bundle", bundle, "--format", "json")
    check_error(done, 4, clips[clip], state)
    (prediction,) = json.loads(done.stdout)
    assert (prediction["modalities"], prediction["states"]) == ([used], [state])


def test_export_of_what_is_not_there(trained, tmp_path):
    def export(*options):
        command = [sys.executable, str(ROOT / "export.py"), *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True)

    done = export("--run", tmp_path, "--model", "all", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "config.json': not_found" in done.stderr
    done = export("--run", trained.run, "--model", "alexnet", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "alexnet" in done.stderr
    assert not (tmp_path / "b").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    done = export("--run", trained.run, "--model", "audio_lstm", "--out", tmp_path / "full")
    assert done.returncode == 2
    assert "no bundle" in done.stderr
    assert (tmp_path / "full" / "thesis.txt").read_text() == "dear"
