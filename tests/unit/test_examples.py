"""The examples of one's own corpus, detector and writer do what the documentation says."""

import importlib.util
import sys
from pathlib import Path

import pytest

from keras_emo.core.errors import ExitCode, Reason
from keras_emo.data.corpus import CorpusError
from keras_emo.runtime.timeline import Segment

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models" / "default"


def load(name: str):
    """A module of examples/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def put(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    return path


def test_a_corpus_in_one_file(tmp_path):
    for name in ("anna_f/angry_01.mp4", "anna_f/sad_02.mp4", "ben_m/angry_01.mp4"):
        put(tmp_path, name)
    sound = put(tmp_path, "ben_m/angry_01.wav")
    corpus = load("own_corpus").read_folders(tmp_path)
    found = [(t.take_id, t.speaker, t.gender, t.emotion) for t in corpus.takes]
    assert found == [
        ("folders/anna/angry_01", "folders/anna", "female", "angry"),
        ("folders/anna/sad_02", "folders/anna", "female", "sad"),
        ("folders/ben/angry_01", "folders/ben", "male", "angry"),
    ]
    assert corpus.takes[2].source.audio == sound


def test_its_bad_names_are_told_all_at_once(tmp_path):
    for name in ("anna_f/angry_01.mp4", "anna_f/cross_02.mp4", "ben/angry_01.mp4"):
        put(tmp_path, name)
    reader = load("own_corpus")
    with pytest.raises(CorpusError) as caught:
        reader.read_folders(tmp_path)
    reasons = {p.path.name: p.reason for p in caught.value.problems}
    assert reasons == {"cross_02.mp4": Reason.UNKNOWN_CODE, "angry_01.mp4": Reason.BAD_NAME}
    assert len(reader.read_folders(tmp_path, skip_bad=True).takes) == 1


@pytest.fixture(scope="module")
def clip(make, tmp_path_factory):
    """Five seconds without a face that MTCNN would find."""
    path = tmp_path_factory.mktemp("clips") / "grey.mp4"
    frames = make.grey_frames(50, 120, 160)
    return make.video(path, frames, fps=10, sound=make.sine(5.0))


def test_a_detector_in_one_file(clip):
    predictor = load("own_detector").open_predictor(BUNDLE)
    answer = predictor.predict(clip)
    assert answer.modalities == ["face", "voice"]
    assert answer.frames_with_face == answer.frames_examined > 0
    boxes = predictor.prepare(clip).boxes
    assert boxes.tolist() == [[50.0, 30.0, 60.0, 60.0]] * len(boxes)


def test_a_writer_in_one_file(clip, tmp_path, capsys):
    writer, target = load("own_writer"), tmp_path / "clip.srt"
    assert writer.write_subtitles(clip, target, BUNDLE) == ExitCode.OK
    number, stamps, said, *_ = target.read_text().splitlines()
    assert (number, stamps[:17]) == ("1", "00:00:00,000 --> ")
    assert float(said.split()[1]) <= 1


def test_subtitles_are_numbered_and_leave_out_what_has_no_answer():
    segments = [
        Segment(0.0, 3.5, "happy", 0.912),
        Segment(3.5, 5.0, None, None),
        Segment(5.0, 3661.25, "sad", 0.5),
    ]
    assert load("own_writer").format_subtitles(segments) == (
        "1\n00:00:00,000 --> 00:00:03,500\nhappy 0.91\n\n"
        "2\n00:00:05,000 --> 01:01:01,250\nsad 0.50\n"
    )
