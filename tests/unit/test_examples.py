"""examples/own_detector.py and own_writer.py do what the documentation says."""

import importlib.util
import io
import sys
from pathlib import Path

import pytest

import keras_emo
from keras_emo.cli import main
from keras_emo.errors import ExitCode
from keras_emo.extensions import load_extensions
from keras_emo.inference.results import Damage, Segment, Timeline
from keras_emo.render import writers

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models" / "default"


def load(name: str):
    """A module of examples/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip(make, tmp_path_factory):
    """Five seconds without a face that MTCNN would find."""
    path = tmp_path_factory.mktemp("clips") / "grey.mp4"
    frames = make.grey_frames(50, 120, 160)
    return make.video(path, frames, fps=10, sound=make.sine(5.0))


def test_a_detector_in_one_file(clip):
    model = keras_emo.load(BUNDLE, detector=load("own_detector").SeatedDetector())
    model.warm_up()
    prediction = model.predict(clip)
    assert prediction.modalities == ("face", "voice")
    assert prediction.faces.with_face == prediction.faces.examined > 0
    assert next(model.stream(clip)).modalities == ("face", "voice")
    boxes = model.prepare(clip).boxes
    assert boxes.tolist() == [[50.0, 30.0, 60.0, 60.0]] * len(boxes)


@pytest.fixture
def subtitles(make, tmp_path, monkeypatch):
    """examples/own_writer.py as an installed package; what it registers is gone afterwards."""
    monkeypatch.syspath_prepend(make.example(tmp_path / "site", writers.GROUP, "own_writer"))
    monkeypatch.setattr(writers, "_FORMATS", dict(writers._FORMATS))
    load_extensions.cache_clear()
    yield
    sys.modules.pop("own_writer", None)
    load_extensions.cache_clear()


@pytest.mark.usefixtures("subtitles")
def test_a_writer_in_one_file(clip, tmp_path):
    """Subtitles are numbered and need a prediction."""
    target = tmp_path / "clip.srt"
    command = ["predict", str(clip), "--bundle", str(BUNDLE), "--format", "srt"]
    code = main([*command, "--timeline", "--out", str(target)])
    assert code == ExitCode.PARTIAL  # without a face
    assert target.read_text().startswith("1\n00:00:00,000 --> ")
    stream = io.StringIO()
    writer = writers.find_format("srt", True)(stream)
    for segments in (
        (Segment(0.0, 3.5, "happy", 0.912), Segment(3.5, 5.0, None, None)),
        (Segment(5.0, 3661.25, "sad", 0.5),),
    ):
        writer.end(Timeline("a.mp4", 3.0, 1.0, (), segments, 5.0, Damage(), ()))
    assert stream.getvalue() == (
        "1\n00:00:00,000 --> 00:00:03,500\nhappy 0.91\n\n"
        "2\n00:00:05,000 --> 01:01:01,250\nsad 0.50\n\n"
    )


def test_formats_that_are_refused(subtitles, clip, capsys):
    command = ["predict", str(clip), "--bundle", str(BUNDLE), "--format"]
    assert main([*command, "srt"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "error: 'srt': bad_config: a format for --timeline only\n"
    assert main([*command, "pdf"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "error: 'pdf': bad_config: no such format; known are csv, json, text, srt\n"
    )
    writers.register_format("clips", predictions=lambda stream: None)
    assert main([*command, "clips", "--timeline"]) == ExitCode.USAGE
    assert "not a format for --timeline" in capsys.readouterr().err
    with pytest.raises(ValueError, match="already"):
        writers.register_format("csv")
