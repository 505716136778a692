"""Text, CSV and JSON: exact output, and that it can be read again whatever a file is called."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from keras_emo.errors import Reason
from keras_emo.inference.results import Damage, Face, FaceCount, Prediction, Segment
from keras_emo.labels import EMOTIONS
from keras_emo.render.writers import PredictionWriter, TimelineWriter, format_time, format_window

from .timelines import make_timeline, make_window

FORMS = ("csv", "json", "text")
PROBS = dict.fromkeys(EMOTIONS, 0.05) | {"happy": 0.7}
PREDICTION = Prediction(
    "a.mp4", "happy", 0.7, PROBS, ("face", "voice"), (Reason.NO_FACE,), FaceCount(3, 4), 1.25,
    Damage(2, 0.5), ("2 damaged packets",),
)  # fmt: skip
letters = st.characters(exclude_characters="\0", codec="utf-8") | st.sampled_from("\r\n,;\"' \t")
names = st.text(letters, min_size=1, max_size=20)


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


def test_a_prediction():
    written = write(PredictionWriter, lambda writer: writer.add(PREDICTION))
    assert written["text"] == "a.mp4  happy 0.70  from face and voice  face in 3 of 4 frames\n"
    assert written["csv"] == (
        "path,label,angry,disgust,fear,happy,neutral,sad,surprise,modalities,frames_with_face,"
        "frames_examined,duration_s,warnings\n"
        "a.mp4,happy,0.050000,0.050000,0.050000,0.700000,0.050000,0.050000,0.050000,face+voice,3,4,"
        "1.250,no_face; 2 damaged packets\n"
    )
    assert json.loads(written["json"]) == [
        {
            "path": "a.mp4", "label": "happy", "confidence": 0.7, "probs": PROBS,
            "modalities": ["face", "voice"], "states": ["no_face"],
            "faces": {"with_face": 3, "examined": 4}, "duration_s": 1.25,
            "damage": {"packets": 2, "missing_s": 0.5}, "warnings": ["2 damaged packets"],
            "probs_face": None, "probs_voice": None,
        }
    ]  # fmt: skip


def test_a_timeline():
    probs = np.full((2, 7), 0.05)
    probs[:, 3] = 0.7
    windows = (
        make_window(0.0, probs[0], face=Face(2, (1.0, 2.0, 3.25, 4.0))),
        make_window(1.0, None, states=(Reason.NO_FACE,)),
    )
    segments = (Segment(0.0, 3.5, "happy", 0.7), Segment(3.5, 4.0, None, None))
    timeline = make_timeline(probs, path="a.mp4", windows=windows, segments=segments)

    def fill(writer):
        for window in windows:
            writer.add("a.mp4", window)
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


def test_lines_of_live_and_times():
    window = make_window(58.0, np.eye(7)[3])
    assert format_window(window) == "1:01.0  happy 1.00  from face and voice\n"
    window = make_window(0.0, None, states=(Reason.NO_FACE, Reason.NO_AUDIO))
    assert format_window(window) == "0:03.0  no prediction: no_face, no_audio\n"
    assert [format_time(t) for t in (0, 59.96, 61.24, 3600, 7325.5)] == [
        "0:00.0", "1:00.0", "1:01.2", "1:00:00.0", "2:02:05.5",
    ]  # fmt: skip


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(names, names), max_size=3))
@example([("a\rb", "c\nd")])
def test_any_name_and_warning_can_be_read_again(pairs):
    made = [replace(PREDICTION, path=path, warnings=(text,)) for path, text in pairs]
    written = write(PredictionWriter, lambda writer: [writer.add(p) for p in made])
    assert json.loads(written["json"]) == [p.to_dict() for p in made]
    found = [(row["path"], row["warnings"], row["happy"]) for row in read_csv(written["csv"])]
    assert found == [(path, f"no_face; {text}", "0.700000") for path, text in pairs]

    timelines = [make_timeline(np.eye(7)[:2], path=path, warnings=(text,)) for path, text in pairs]

    def fill(writer):
        for timeline in timelines:
            for window in timeline.windows:
                writer.add(timeline.path, window)
            writer.end(timeline)

    written = write(TimelineWriter, fill)
    assert json.loads(written["json"]) == [t.to_dict() for t in timelines]
    found = [(row["path"], row["label"]) for row in read_csv(written["csv"])]
    assert found == [(path, label) for path, _ in pairs for label in ("angry", "disgust")]
