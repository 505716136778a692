"""keras-emo predict and live: what they write and how they end."""

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

from keras_emo import cli
from keras_emo.cli import live, predict
from keras_emo.errors import ClipError, Reason
from keras_emo.inference.predict import WindowStream, choose_lengths, read_windows
from keras_emo.inference.results import Damage, FaceCount, Prediction
from keras_emo.labels import EMOTIONS
from keras_emo.spec import ClipSpec, FaceSpec

BUNDLE = SimpleNamespace(
    spec=ClipSpec(FaceSpec(size_px=32)),
    inputs=("face", "face_mask", "mfcc", "mfcc_mask"),
    modalities=("face", "voice"),
)


class StubModel:
    """Happy with a face, sad from the voice alone.

    Of whole clips, one named bad is refused, torn is damaged, and stop is the user's Ctrl-C.
    """

    def __init__(self, *_, **__):
        self.bundle, self.threads = BUNDLE, 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def warm_up(self):
        pass

    def predict(self, path):
        if path.stem == "bad":
            raise ClipError(path, Reason.EMPTY_FILE, "the file has no bytes")
        if path.stem == "stop":
            raise KeyboardInterrupt
        torn = path.stem == "torn"
        return Prediction(
            str(path), "happy", 1 / 7, dict.fromkeys(EMOTIONS, 1 / 7), ("face", "voice"), (),
            FaceCount(4, 4), 1.0, Damage(3 * torn), ("3 damaged packets",) * torn,
        )  # fmt: skip

    def compute_probs(self, clips):
        label = "sad" if clips[0].face is None else "happy"
        return np.eye(7, dtype=np.float32)[[EMOTIONS.index(label)]]

    def stream(self, path, window_s=None, hop_s=None):
        lengths = choose_lengths(BUNDLE, window_s, hop_s)
        return WindowStream(path, *lengths, read_windows(self, path, *lengths, False))


@pytest.fixture(autouse=True)
def stub(make, monkeypatch):
    detector = make.detector([make.face((10, 10, 20, 20))])
    monkeypatch.setattr(StubModel, "detector", detector, raising=False)
    for command in (predict, live):
        monkeypatch.setattr(command, "load", StubModel)


@pytest.fixture(scope="module")
def clips(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 50
    make.video(folder / "a.mp4", frames, 10, sound=make.sine(5.0))
    make.wav(folder / "b.wav", make.sine(4.0))
    make.wav(folder / "silent.wav", np.zeros(48_000 * 4))
    return folder


def test_damaged_and_failed_clips_are_partial(capsys):
    assert cli.main(["predict", "a.mp4"]) == 0
    assert capsys.readouterr().out.startswith("a.mp4  happy 0.14  from face and voice")
    assert cli.main(["predict", "bad.mp4", "a.mp4", "torn.mp4", "--format", "csv"]) == 4
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["warnings"] for r in rows] == ["", "3 damaged packets"]
    assert err.splitlines() == [
        "error: 'bad.mp4': empty_file: the file has no bytes",
        "warning: 'torn.mp4': 3 damaged packets",
        "2 predicted, 1 rejected",
    ]
    assert cli.main(["predict", "torn.mp4"]) == 4
    assert cli.main(["predict", "bad.mp4"]) == 3


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_an_interrupt_delivers_what_is_complete(form, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict", "a.mp4", "stop.mp4", "b.mp4", "--format", form, "--out", str(out)]
    assert cli.main(command) == 130
    assert "a.mp4" in out.read_text()
    assert "b.mp4" not in out.read_text()
    assert capsys.readouterr().err == "stopped\n"
    assert os.listdir(tmp_path) == ["out"]


def test_out_is_checked_before_the_model_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "load", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "below"):
        assert cli.main(["predict", "a.mp4", "--out", str(out)]) == 6
    assert capsys.readouterr().err.count("write_failed") == 2


def test_names_of_any_bytes_are_written(tmp_path):
    out, name = tmp_path / "out.json", os.fsdecode(b"\xff.mp4")
    assert cli.main(["predict", name, "--format", "json", "--out", str(out)]) == 0
    assert json.loads(out.read_text())[0]["path"] == name


def test_refused_files_of_a_folder(tmp_path, capsys):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.m4v").touch()
    assert cli.main(["predict", str(tmp_path)]) == 4
    assert "b.m4v': format_not_allowed" in capsys.readouterr().err
    (tmp_path / "a.mp4").unlink()
    assert cli.main(["predict", str(tmp_path)]) == 3
    (tmp_path / "b.m4v").unlink()
    assert cli.main(["predict", str(tmp_path)]) == 2


def run(capsys, *arguments):
    code = cli.main(["predict", "--timeline", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_timelines(clips, capsys):
    code, out, err = run(capsys, clips / "a.mp4", clips / "b.wav", "--format", "json")
    assert code == 4
    assert err == f"warning: '{clips / 'b.wav'}': no_video in 2 of 2 windows\n"
    first, second = json.loads(out)
    assert (first["schema"], first["window_s"], first["hop_s"]) == (1, 3.0, 1.0)
    assert [(w["start_s"], w["label"]) for w in first["windows"]] == [
        (0, "happy"), (1, "happy"), (2, "happy"),
    ]  # fmt: skip
    assert first["windows"][0]["face"] == {"id": 0, "box": [10, 10, 20, 20]}
    (segment,) = first["segments"]
    assert (segment["start_s"], segment["end_s"]) == (0, first["duration_s"])
    assert (segment["label"], segment["confidence"]) == ("happy", 1)
    assert first["damage"] == {"packets": 0, "missing_s": 0}
    assert (second["windows"][0]["states"], second["windows"][0]["face"]) == (["no_video"], None)


def test_timelines_as_text(clips, capsys):
    code, out, _ = run(capsys, clips / "a.mp4", "--hop-s", "2")
    assert code == 0
    assert out.splitlines() == [
        f"{clips / 'a.mp4'}  0:05.0, 2 windows", "  0:00.0 - 0:05.0  happy 1.00",
    ]  # fmt: skip


def test_recordings_without_a_prediction_leave_the_rest(clips, capsys):
    command = (clips / "none.mp4", clips / "silent.wav", "--format", "json")
    code, out, err = run(capsys, *command)
    (found,) = json.loads(out)
    assert code == 3
    assert {w["label"] for w in found["windows"]} == {None}
    assert found["segments"] == [{"start_s": 0, "end_s": 4, "label": None, "confidence": None}]
    assert "not_found" in err
    assert "no_modality: no window has a prediction: no_video and silent_audio" in err
    code, out, _ = run(capsys, clips / "a.mp4", *command)
    assert (code, len(json.loads(out))) == (4, 2)


def test_pictures_of_one_file(clips, capsys, tmp_path):
    video, picture = tmp_path / "b.mp4", tmp_path / "b.png"
    code, _, err = run(capsys, clips / "a.mp4", "--annotate", video, "--plot", picture)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["b.mp4", "b.png"]
    assert video.stat().st_size > 1000
    for wrong in (
        [clips, "--plot", picture],
        [clips / "a.mp4", clips / "b.wav", "--annotate", video],
        [clips / "a.mp4", clips / "b.wav", "--report", tmp_path / "b.html"],
        [clips / "a.mp4", "--annotate", clips / "a.mp4"],
        [clips / "a.mp4", "--annotate", tmp_path / "b.avi"],
        [clips / "a.mp4", "--window-s", "9"],
    ):
        code, out, err = run(capsys, *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert cli.main(["predict", str(clips / "a.mp4"), "--plot", "x"]) == 2
    assert "goes with --timeline" in capsys.readouterr().err


def test_an_interrupt_delivers_whole_json(clips, capsys, monkeypatch):
    n_calls = []

    def compute_probs(self, clips):
        n_calls.append(1)
        if len(n_calls) == 3:
            raise KeyboardInterrupt
        return np.eye(7, dtype=np.float32)[[3]]

    monkeypatch.setattr(StubModel, "compute_probs", compute_probs)
    code, out, err = run(capsys, clips / "a.mp4", "--format", "json")
    (found,) = json.loads(out)
    assert (code, len(found["windows"]), err) == (130, 2, "stopped\n")
    assert found["segments"][-1]["end_s"] >= 4


def test_live_of_a_file(clips, capsys):
    command = ["live", str(clips / "a.mp4"), "--max-s", "1.2", "--window-s", "1"]
    assert cli.main([*command, "--hop-s", "0.5", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    first = json.loads(out.splitlines()[0])
    assert (first["label"], first["dropped"].keys(), err) == ("happy", {"pictures", "windows"}, "")
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith("0:01.0  happy 1.00  from face and voice")
    assert cli.main(["live", "97"]) == 3
    assert "no such camera" in capsys.readouterr().err


def test_live_ends_cleanly(make, tmp_path):
    """With the shipped bundle."""
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
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    first = json.loads(out.read_text().splitlines()[0])
    assert (first["label"], first["states"]) == (None, ["no_face", "no_audio"])
