"""keras-emo predict --timeline and live: what they write and how they end."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.cli import live, predict
from keras_emo.cli import main as cli
from keras_emo.inference.predict import WindowStream, choose_lengths, read_windows
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec, FaceSpec

BUNDLE = SimpleNamespace(
    spec=ClipSpec(FaceSpec(size_px=32)),
    inputs=("face", "face_mask", "mfcc", "mfcc_mask"),
    modalities=("face", "voice"),
)


@pytest.fixture(autouse=True)
def stub(make, monkeypatch):
    """Happy with a face, sad from the voice alone."""

    class StubModel:
        def __init__(self, *_, **__):
            self.bundle, self.threads = BUNDLE, 1
            self.detector = make.detector([make.face((10, 10, 20, 20))])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def compute_probs(self, clips):
            label = "sad" if clips[0].face is None else "happy"
            return np.eye(7, dtype=np.float32)[[EMOTIONS.index(label)]]

        def stream(self, path, window_s=None, hop_s=None):
            lengths = choose_lengths(BUNDLE, window_s, hop_s)
            return WindowStream(path, *lengths, read_windows(self, path, *lengths, False))

        def warm_up(self):
            pass

    for command in (predict, live):
        monkeypatch.setattr(command, "load", StubModel)
    return StubModel


@pytest.fixture(scope="module")
def clips(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 50
    make.video(folder / "a.mp4", frames, 10, sound=make.sine(5.0))
    make.wav(folder / "b.wav", make.sine(4.0))
    make.wav(folder / "silent.wav", np.zeros(48_000 * 4))
    return folder


def run(capsys, *arguments):
    code = cli.main(["predict", "--timeline", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_json(clips, capsys):
    code, out, err = run(capsys, clips / "a.mp4", clips / "b.wav", "--format", "json")
    assert code == 4
    assert err == f"warning: '{clips / 'b.wav'}': no_video in 2 of 2 windows\n"
    first, second = json.loads(out)
    assert list(first) == [
        "schema", "path", "window_s", "hop_s", "windows", "segments", "duration_s", "damage",
        "warnings",
    ]  # fmt: skip
    assert (first["schema"], first["window_s"], first["hop_s"]) == (1, 3.0, 1.0)
    assert [(w["start_s"], w["label"]) for w in first["windows"]] == [
        (0, "happy"), (1, "happy"), (2, "happy"),
    ]  # fmt: skip
    window = first["windows"][0]
    assert list(window) == [
        "start_s", "end_s", "label", "confidence", "probs", "modalities", "states", "face",
        "probs_face", "probs_voice",
    ]  # fmt: skip
    assert (list(window["probs"]), window["modalities"]) == (list(EMOTIONS), ["face", "voice"])
    assert window["face"] == {"id": 0, "box": [10, 10, 20, 20]}
    (segment,) = first["segments"]
    assert segment == {
        "start_s": 0,
        "end_s": first["duration_s"],
        "label": "happy",
        "confidence": 1,
    }
    assert first["damage"] == {"packets": 0, "missing_s": 0}
    assert second["windows"][0]["states"] == ["no_video"]
    assert second["windows"][0]["face"] is None


def test_csv_and_text(clips, capsys):
    code, out, _ = run(capsys, clips / "a.mp4", "--format", "csv", "--hop-s", "2")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 2)
    assert (rows[1]["start_s"], rows[1]["label"], rows[1]["happy"]) == (
        "2.000",
        "happy",
        "1.000000",
    )
    assert (rows[1]["face_id"], rows[1]["width_px"], rows[1]["states"]) == ("0", "20.0", "")
    code, out, _ = run(capsys, clips / "a.mp4")
    assert out.splitlines()[1:] == ["  0:00.0 - 0:05.0  happy 1.00"]


def test_no_prediction_is_rejected_and_written(clips, capsys):
    code, out, err = run(capsys, clips / "silent.wav", "--format", "json")
    (found,) = json.loads(out)
    assert code == 3
    assert {w["label"] for w in found["windows"]} == {None}
    assert found["segments"] == [{"start_s": 0, "end_s": 4, "label": None, "confidence": None}]
    assert "no_modality: no window has a prediction: no_video and silent_audio" in err


def test_bad_files_leave_the_rest(clips, capsys):
    code, out, err = run(capsys, clips / "none.mp4", clips / "a.mp4", "--format", "json")
    assert (code, len(json.loads(out))) == (4, 1)
    assert "not_found" in err
    code, out, _ = run(capsys, clips / "none.mp4", "--format", "json")
    assert (code, json.loads(out)) == (3, [])


def test_pictures_of_one_file(clips, capsys, tmp_path):
    video, picture = tmp_path / "b.mp4", tmp_path / "b.png"
    code, _, err = run(capsys, clips / "a.mp4", "--annotate", video, "--plot", picture)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["b.mp4", "b.png"]
    assert video.stat().st_size > 1000
    for wrong in (
        [clips, "--plot", picture],
        [clips / "a.mp4", clips / "b.wav", "--annotate", video],
        [clips / "a.mp4", "--annotate", clips / "a.mp4"],
        [clips / "a.mp4", "--annotate", tmp_path / "b.avi"],
        [clips / "a.mp4", "--window-s", "9"],
    ):
        code, out, err = run(capsys, *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert cli.main(["predict", str(clips / "a.mp4"), "--plot", "x.png"]) == 2
    assert "goes with --timeline" in capsys.readouterr().err


def test_an_interrupt_delivers_whole_json(clips, capsys, monkeypatch, stub):
    n_calls = []

    def compute_probs(self, clips):
        n_calls.append(1)
        if len(n_calls) == 3:
            raise KeyboardInterrupt
        return np.eye(7, dtype=np.float32)[[3]]

    monkeypatch.setattr(stub, "compute_probs", compute_probs)
    code, out, err = run(capsys, clips / "a.mp4", "--format", "json")
    (found,) = json.loads(out)
    assert (code, len(found["windows"]), err) == (130, 2, "stopped\n")
    assert found["segments"][-1]["end_s"] >= 4


def test_live_of_a_file(clips, capsys):
    code = cli.main(["live", str(clips / "a.mp4"), "--format", "json", "--max-s", "1.2",
                     "--window-s", "1", "--hop-s", "0.5"])  # fmt: skip
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0]["label"] == "happy"
    assert "dropped" in lines[0]
    assert cli.main(["live", str(clips / "a.mp4"), "--max-s", "1.2", "--window-s", "1"]) == 0
    assert capsys.readouterr().out.startswith("0:01.0  happy 1.00  from face and voice")
    assert cli.main(["live", "97"]) == 3
    assert "no such camera" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_live_ends_cleanly(number, code, make, tmp_path):
    """With the bundle that is shipped: the process says 'stopped', and that is all."""
    frames = [np.full((120, 160, 3), 90, np.uint8)] * 300
    path = make.video(tmp_path / "a.mp4", frames, 10)
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_emo", "live", str(path), "--window-s", "1",
         "--format", "json"],
        stdout=out.open("w"), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end_s = time.monotonic() + 60
    while not out.stat().st_size and time.monotonic() < end_s:
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    first = json.loads(out.read_text().splitlines()[0])
    assert (first["label"], first["states"]) == (None, ["no_face", "no_audio"])
