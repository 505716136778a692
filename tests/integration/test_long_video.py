"""A longer recording with drawn faces through keras-emo, the bundle that is shipped, from files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from keras_emo.media.reader import read_media

from .conftest import ROOT, run_cli

pytestmark = pytest.mark.slow
BUNDLE = ROOT / "saved_models" / "default"
FPS = 10


@pytest.fixture(scope="module")
def spoken(drawn):
    """Three seconds of one drawn speaker: frames at FPS and the voice at 48 kHz."""
    media = read_media(drawn, frame_rate_hz=FPS)
    assert media.sample_rate_hz == 48_000
    return [f.rgb for f in media.frames[: 3 * FPS]], media.waveform[: 3 * 48_000]


def predict(path: Path, *options: str | Path) -> tuple[int, dict]:
    done = run_cli("predict", path, "--bundle", BUNDLE, "--timeline", "--format", "json", *options)
    (found,) = json.loads(done.stdout)
    return done.returncode, found


def test_face_and_voice_that_come_and_go(spoken, make, tmp_path):
    frames, voice = spoken
    nobody = [np.full_like(frames[0], 128)] * (6 * FPS)
    silence = np.zeros(6 * 48_000, np.float32)
    path = make.video(
        tmp_path / "a.mp4", [*frames, *nobody, *frames], FPS,
        sound=np.concatenate([voice, silence, silence[: len(voice)]]),
    )  # fmt: skip
    code, found = predict(
        path, "--annotate", tmp_path / "b.mp4", "--plot", tmp_path / "b.png", "--hop-s", "1.5"
    )
    assert code == 4
    windows = {w["start_s"]: w for w in found["windows"]}
    assert list(windows) == [0, 1.5, 3, 4.5, 6, 7.5, 9]
    assert windows[0]["modalities"] == ["face", "voice"]
    for start_s in (4.5, 6):
        assert windows[start_s]["label"] is None
        assert windows[start_s]["states"] == ["no_face", "silent_audio"]
    assert (windows[9]["modalities"], windows[9]["states"]) == (["face"], ["silent_audio"])
    silent = [s for s in found["segments"] if s["label"] is None]
    assert len(silent) == 1
    assert silent[0]["start_s"] >= 3
    assert silent[0]["end_s"] <= 9
    assert found["segments"][-1]["end_s"] == found["duration_s"] == pytest.approx(12, abs=0.1)
    copy = read_media(tmp_path / "b.mp4", frame_rate_hz=1.0)
    assert copy.frames[0].rgb.shape == frames[0].shape
    assert len(copy.waveform) == pytest.approx(12 * 48_000, abs=4096)
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_two_people_and_one_who_leaves(spoken, make, tmp_path):
    """Side by side, the left one larger; after 6 s only the right one is there."""
    frames, voice = spoken
    height, width = frames[0].shape[:2]
    right = [f[::2, ::2] for f in frames]
    both, alone = [], []
    for left, small in zip(frames, right, strict=True):
        picture = np.full((height, width + width // 2, 3), 128, np.uint8)
        picture[: height // 2, width:] = small
        alone.append(picture)
        both.append(picture.copy())
        both[-1][:, :width] = left
    path = make.video(
        tmp_path / "a.mp4", [*both, *both, *alone, *alone], FPS, sound=np.tile(voice, 4)
    )
    code, found = predict(path)
    assert code in (0, 4)
    first, last = found["windows"][0]["face"], found["windows"][-1]["face"]
    assert first["box"][0] < width < last["box"][0]
    assert first["id"] != last["id"]
    ids = [w["face"]["id"] for w in found["windows"] if w["face"]]
    assert sum(a != b for a, b in pairwise(ids)) == 1
