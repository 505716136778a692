"""Text, CSV and JSON: exact output, and that it can be read again whatever a file is called."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_emo.errors import Reason
from keras_emo.inference.results import Damage, Face, FaceCount, Prediction, Segment, name_probs
from keras_emo.labels import EMOTIONS
from keras_emo.render.writers import (
    PredictionWriter,
    TimelineWriter,
    format_csv,
    format_time,
    format_window,
)

from .timelines import make_timeline, make_window

FORMS = ("csv", "json", "text")
letters = st.characters(exclude_characters="\0", codec="utf-8") | st.sampled_from("\r\n,;\"' \t")
names = st.text(letters, min_size=1, max_size=20)
probabilities = st.lists(st.floats(0.01, 1), min_size=7, max_size=7).map(
    lambda weights: np.array(weights, np.float32) / np.float32(sum(weights))
)
states = st.sampled_from([(), (Reason.NO_FACE,), (Reason.NO_FACE, Reason.SILENT_AUDIO)])
modalities = st.sampled_from([("face",), ("voice",), ("face", "voice")])
times_s = st.floats(0, 14_400)


@st.composite
def predictions(draw):
    probs = draw(probabilities)
    return Prediction(
        path=draw(names),
        label=EMOTIONS[int(probs.argmax())],
        confidence=float(probs.max()),
        probs=name_probs(probs),
        modalities=draw(modalities),
        states=draw(states),
        faces=FaceCount(draw(st.integers(0, 96)), draw(st.integers(0, 96))),
        duration_s=draw(times_s),
        damage=Damage(draw(st.integers(0, 9)), draw(times_s)),
        warnings=tuple(draw(st.lists(names, max_size=2))),
    )


@st.composite
def windows(draw):
    box = st.tuples(*[st.floats(0, 4000, width=32)] * 4)
    return make_window(
        draw(times_s),
        draw(st.none() | probabilities),
        modalities=draw(modalities),
        states=draw(states),
        face=draw(st.none() | st.builds(Face, st.integers(0, 9), box)),
    )


def write(make_writer, fill) -> dict[str, str]:
    """What each form of a writer writes; fill: its calls."""
    written = {}
    for form in FORMS:
        stream = io.StringIO(newline="")
        writer = make_writer(stream, form)
        fill(writer)
        writer.finish()
        written[form] = stream.getvalue()
    return written


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_prediction():
    probs = dict.fromkeys(EMOTIONS, 0.05) | {"happy": 0.7}
    prediction = Prediction(
        "a.mp4", "happy", 0.7, probs, ("face", "voice"), (Reason.NO_FACE,), FaceCount(3, 4),
        1.25, Damage(2, 0.5), ("2 damaged packets",),
    )  # fmt: skip
    written = write(PredictionWriter, lambda writer: writer.add(prediction))
    assert written["text"] == "a.mp4  happy 0.70  from face and voice  face in 3 of 4 frames\n"
    assert written["csv"] == (
        "path,label,angry,disgust,fear,happy,neutral,sad,surprise,modalities,frames_with_face,"
        "frames_examined,duration_s,warnings\n"
        "a.mp4,happy,0.050000,0.050000,0.050000,0.700000,0.050000,0.050000,0.050000,face+voice,3,4,"
        "1.250,no_face; 2 damaged packets\n"
    )
    assert json.loads(written["json"]) == [
        {
            "path": "a.mp4", "label": "happy", "confidence": 0.7, "probs": probs,
            "modalities": ["face", "voice"], "states": ["no_face"],
            "faces": {"with_face": 3, "examined": 4}, "duration_s": 1.25,
            "damage": {"packets": 2, "missing_s": 0.5}, "warnings": ["2 damaged packets"],
            "probs_face": None, "probs_voice": None,
        }
    ]  # fmt: skip


def test_a_timeline():
    probs = np.full((2, 7), 0.05)
    probs[:, 3] = 0.7
    segments = (Segment(0.0, 3.5, "happy", 0.7), Segment(3.5, 4.0, None, None))
    timeline = make_timeline(probs, path="a.mp4", segments=segments)

    def fill(writer):
        writer.add("a.mp4", make_window(0.0, probs[0], face=Face(2, (1.0, 2.0, 3.25, 4.0))))
        writer.add("a.mp4", make_window(1.0, None, states=(Reason.NO_FACE,)))
        writer.end(timeline)

    written = write(TimelineWriter, fill)
    assert written["text"] == (
        "a.mp4  0:04.0, 2 windows\n"
        "  0:00.0 - 0:03.5  happy 0.70\n"
        "  0:03.5 - 0:04.0  no prediction\n"
    )
    assert written["csv"].splitlines()[1:] == [
        "a.mp4,0.000,3.000,happy,0.050000,0.050000,0.050000,0.700000,0.050000,0.050000,0.050000,"
        "face+voice,,2,1.0,2.0,3.2,4.0",
        "a.mp4,1.000,4.000,,,,,,,,,,no_face,,,,,",
    ]
    assert json.loads(written["json"]) == [timeline.to_dict()]


def test_nothing_is_an_empty_array():
    for make_writer in (PredictionWriter, TimelineWriter):
        written = write(make_writer, lambda writer: None)
        assert (written["json"], written["text"]) == ("[]\n", "")
        assert len(written["csv"].splitlines()) == 1


def test_lines_of_live():
    assert format_window(make_window(58.0, np.eye(7)[3])) == (
        "1:01.0  happy 1.00  from face and voice\n"
    )
    window = make_window(0.0, None, states=(Reason.NO_FACE, Reason.NO_AUDIO))
    assert format_window(window) == "0:03.0  no prediction: no_face, no_audio\n"


def test_times():
    assert [format_time(t) for t in (0, 59.96, 61.24, 3600, 7325.5)] == [
        "0:00.0", "1:00.0", "1:01.2", "1:00:00.0", "2:02:05.5",
    ]  # fmt: skip


def test_a_carriage_return_in_a_name_ends_no_row():
    assert format_csv(["a\rb", "c\nd", "e"]) == '"a\rb","c\nd",e\n'


@given(st.lists(predictions(), max_size=3))
def test_any_predictions(made):
    written = write(PredictionWriter, lambda writer: [writer.add(p) for p in made])
    assert json.loads(written["json"]) == [p.to_dict() for p in made]
    rows = read_csv(written["csv"])
    for row, p in zip(rows, made, strict=True):
        assert (row["path"], row["label"]) == (p.path, p.label)
        assert [float(row[e]) for e in EMOTIONS] == pytest.approx(list(p.probs.values()), abs=1e-6)
        assert row["modalities"].split("+") == list(p.modalities)
        assert row["warnings"] == "; ".join([*map(str, p.states), *p.warnings])


@settings(max_examples=40)
@given(st.lists(st.tuples(names, st.lists(windows(), max_size=4)), max_size=3))
def test_any_timelines(recordings):
    timelines = [
        make_timeline(np.empty((0, 7)), path=name, windows=tuple(made)) for name, made in recordings
    ]

    def fill(writer):
        for timeline in timelines:
            for window in timeline.windows:
                writer.add(timeline.path, window)
            writer.end(timeline)

    written = write(TimelineWriter, fill)
    assert json.loads(written["json"]) == [t.to_dict() for t in timelines]
    rows = read_csv(written["csv"])
    expected = [(t.path, window) for t in timelines for window in t.windows]
    for row, (path, window) in zip(rows, expected, strict=True):
        assert (row["path"], row["label"]) == (path, window.label or "")
        assert float(row["start_s"]) == pytest.approx(window.start_s, abs=1e-3)
        assert row["face_id"] == ("" if window.face is None else str(window.face.id))
        assert row["states"].split() == [str(s) for s in window.states]
        assert (row["happy"] == "") == (window.probs is None)
