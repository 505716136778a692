from types import SimpleNamespace

import numpy as np
import pytest
from keras_emo.inference.gathered import GatheredWindows
from keras_emo.inference.modalities import describe_parts, name_probs, split_parts

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.predict import WindowPrediction, predict_window
from keras_emo.inference.windows import Window
from keras_emo.labels import EMOTIONS

MASKED = ("face", "face_mask", "mfcc", "mfcc_mask")
NOTHING = np.zeros((0, 4), np.float32)


def make_inputs(face=True, voice=True) -> ClipInputs:
    return ClipInputs(
        np.zeros((1, 8, 8, 3), np.uint8) if face else None, np.ones(int(face), bool),
        np.zeros(int(face), np.float32), np.zeros((int(face), 4), np.float32),
        np.zeros((2, 2), np.float32) if voice else None, 1.0, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "face", "voice", "expected"),
    [
        (MASKED, True, True, ["face", "voice"]),
        (MASKED, True, False, ["face"]),
        (MASKED, False, True, ["voice"]),
        (MASKED, False, False, []),
        (("face", "mfcc"), True, True, []),  # it cannot do without either
        (("face", "face_mask"), True, True, ["face"]),
        (("mfcc",), True, True, ["voice"]),
    ],
)
def test_parts_are_those_the_network_can_answer(names, face, voice, expected):
    parts = split_parts(make_inputs(face, voice), names)
    assert list(parts) == expected
    for name, part in parts.items():
        assert part.modalities == (name,)


def test_parts_as_written():
    probs = np.array([0.25, 0.75, 0, 0, 0, 0, 0], np.float32)
    assert describe_parts(None) == {}
    said = describe_parts({"voice": probs})
    assert said["probs_face"] is None
    assert said["probs_voice"] == name_probs(probs)
    assert list(said["probs_voice"]) == list(EMOTIONS)
    assert said["probs_voice"]["disgust"] == 0.75


def answer(clips):
    picks = [2 if len(c.modalities) == 2 else c.modalities == ("voice",) for c in clips]
    return np.eye(7, dtype=np.float32)[np.array(picks, int)]


def test_a_window_in_parts():
    predictor = SimpleNamespace(bundle=SimpleNamespace(inputs=MASKED), answer=answer)
    said = predict_window(predictor, Window(0, 3, make_inputs()), parts=True)
    assert said.label == "fear"
    assert said.to_dict()["probs_face"]["angry"] == said.to_dict()["probs_voice"]["disgust"] == 1
    without = predict_window(predictor, Window(0, 3, make_inputs()))
    assert without.parts is None
    assert "probs_face" not in without.to_dict()
    nothing = predict_window(predictor, Window(0, 3, make_inputs(False, False)), parts=True)
    assert nothing.probs is None
    assert nothing.to_dict()["probs_face"] is None


def make_window(start_s, probs, states=()) -> WindowPrediction:
    label = None if probs is None else EMOTIONS[int(probs.argmax())]
    return WindowPrediction(
        start_s, start_s + 3.0, label, probs, [], list(states), None, NOTHING[:, 0], NOTHING
    )


def test_windows_are_gathered():
    gathered = GatheredWindows()
    answers = SimpleNamespace(window_s=3.0, hop_s=1.0, duration_s=4.5)
    gathered.add(make_window(0, None, [Reason.NO_FACE, Reason.NO_AUDIO]))
    with pytest.raises(ClipError, match=r"no_modality.*no_face and no_audio"):
        gathered.check("clip")
    gathered.add(make_window(1, np.eye(7, dtype=np.float32)[3], [Reason.NO_FACE]))
    gathered.check("clip")
    assert len(gathered) == 2
    assert gathered.states == {"no_face": 2, "no_audio": 1}
    assert [s.label for s in gathered.segments(answers)] == [None, EMOTIONS[3]]
    assert gathered.end_s(answers) == 4.5
    answers.duration_s = 2.0
    assert gathered.end_s(answers) == 4.0
