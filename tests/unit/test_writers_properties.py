"""What is written can be read again, whatever the file is called."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_emo.errors import Reason
from keras_emo.inference.model import Prediction
from keras_emo.inference.predict import WindowPrediction
from keras_emo.inference.segments import find_segments, stack_probs
from keras_emo.labels import EMOTIONS
from keras_emo.media.recording import Media
from keras_emo.render.writers import PredictionWriter, TimelineWriter, format_csv

letters = st.characters(exclude_characters="\0", codec="utf-8") | st.sampled_from("\r\n,;\"' \t")
names = st.text(letters, min_size=1, max_size=20)
probabilities = st.lists(st.floats(0.01, 1), min_size=7, max_size=7).map(
    lambda weights: np.array(weights, np.float32) / np.float32(sum(weights))
)
states = st.lists(st.sampled_from([Reason.NO_FACE, Reason.SILENT_AUDIO]), max_size=2)
modalities = st.sampled_from([["face"], ["voice"], ["face", "voice"]])
times_s = st.floats(0, 14_400)


@st.composite
def predictions(draw):
    probs = draw(probabilities)
    return Prediction(
        path=Path(draw(names)),
        label=EMOTIONS[int(probs.argmax())],
        probs=probs,
        modalities=draw(modalities),
        states=draw(states),
        warnings=draw(st.lists(names, max_size=2)),
        frames_with_face=draw(st.integers(0, 96)),
        frames_examined=draw(st.integers(0, 96)),
        duration_s=draw(times_s),
        damaged_packets=draw(st.integers(0, 9)),
        missing_s=draw(times_s),
    )


@st.composite
def windows(draw):
    probs = draw(st.none() | probabilities)
    start_s = draw(times_s)
    boxes = draw(st.lists(st.tuples(*[st.floats(0, 4000, width=32)] * 4), max_size=3))
    return WindowPrediction(
        start_s=start_s,
        end_s=start_s + 3,
        label=None if probs is None else EMOTIONS[int(probs.argmax())],
        probs=probs,
        modalities=[] if probs is None else draw(modalities),
        states=draw(states),
        face_id=draw(st.integers(0, 9)) if boxes else None,
        times_s=np.zeros(len(boxes), np.float32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )


def test_a_carriage_return_in_a_name_ends_no_row():
    assert format_csv(["a\rb", "c\nd", "e"]) == '"a\rb","c\nd",e\n'


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(st.lists(predictions(), max_size=3))
def test_answers(answers):
    written = {}
    for form in ("csv", "json", "text"):
        stream = io.StringIO(newline="")
        writer = PredictionWriter(stream, form)
        for answer in answers:
            writer.add(answer)
        writer.finish()
        written[form] = stream.getvalue()
    assert json.loads(written["json"]) == [a.to_dict() for a in answers]
    rows = read_csv(written["csv"])
    assert len(rows) == len(answers)
    for row, answer in zip(rows, answers, strict=True):
        assert (row["path"], row["label"]) == (str(answer.path), answer.label)
        assert [float(row[e]) for e in EMOTIONS] == pytest.approx(answer.probs, abs=1e-6)
        assert row["modalities"].split("+") == answer.modalities
        assert int(row["frames_examined"]) == answer.frames_examined
        assert row["warnings"] == "; ".join([*map(str, answer.states), *answer.warnings])


class Recording:
    """What a writer is given at the end of one."""

    def __init__(self, duration_s: float, warnings: list[str]):
        self.duration_s, self.warnings = duration_s, warnings
        self.media = Media(damaged_packets=2, missing_s=0.5)


@settings(max_examples=40)
@given(st.lists(st.tuples(names, st.lists(windows(), max_size=4), st.lists(names)), max_size=3))
def test_timelines(recordings):
    written = {}
    for form in ("csv", "json", "text"):
        stream = io.StringIO(newline="")
        writer = TimelineWriter(stream, form)
        for name, answers, warnings in recordings:
            writer.begin(Path(name), 3.0, 1.0)
            for answer in answers:
                writer.add(answer)
            length_s = len(answers) + 2.0
            segments = find_segments(stack_probs([a.probs for a in answers]), 3, 1, length_s)
            writer.end(Recording(length_s, warnings), segments)
        writer.finish()
        written[form] = stream.getvalue()
    said = json.loads(written["json"])
    rows = read_csv(written["csv"])
    assert len(rows) == sum(len(answers) for _, answers, _ in recordings)
    for (name, answers, warnings), found in zip(recordings, said, strict=True):
        assert (found["path"], found["warnings"]) == (str(Path(name)), warnings)
        assert found["windows"] == [a.to_dict() for a in answers]
        mine, rows = rows[: len(answers)], rows[len(answers) :]
        for row, answer in zip(mine, answers, strict=True):
            assert (row["path"], row["label"]) == (str(Path(name)), answer.label or "")
            assert float(row["start_s"]) == pytest.approx(answer.start_s, abs=1e-3)
            assert row["face_id"] == ("" if answer.box is None else str(answer.face_id))
            assert row["states"].split() == [str(s) for s in answer.states]
            assert (row["happy"] == "") == (answer.probs is None)
