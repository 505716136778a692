"""Predictions for prepared clips and windows, and the timeline they make."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.errors import BundleError, ClipError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.predict import (
    ReadState,
    TimelineBuilder,
    WindowStream,
    check_predicted,
    make_prediction,
    predict_window,
    split_modalities,
)
from keras_emo.inference.results import Damage, Face, FaceCount
from keras_emo.inference.windows import Window
from keras_emo.labels import EMOTIONS

from .timelines import make_window

MASKED = ("face", "face_mask", "mfcc", "mfcc_mask")


def make_inputs(face=True, voice=True, **changes) -> ClipInputs:
    n = int(face)
    given = {
        "face": np.full((1, 8, 8, 3), 7, np.uint8) if face else None,
        "face_found": np.ones(n, bool), "times_s": np.full(n, 1.5, np.float32),
        "boxes": np.array([[1, 2, 3, 4]], np.float32)[:n],
        "mfcc": np.zeros((2, 2), np.float32) if voice else None,
        "duration_s": 1.0, "frames_examined": 3,
    }  # fmt: skip
    return ClipInputs(**given | changes)


@pytest.mark.parametrize(
    ("names", "face", "voice", "expected"),
    [
        (MASKED, True, True, ["probs", "probs_face", "probs_voice"]),
        (MASKED, False, False, []),
        (("face", "mfcc"), True, True, ["probs"]),  # it needs both
        (("mfcc",), True, True, ["probs", "probs_voice"]),
    ],
)
def test_modalities_that_suffice_alone(names, face, voice, expected):
    split = split_modalities(make_inputs(face, voice), names, parts=True)
    assert list(split) == expected
    for name in expected[1:]:
        assert f"probs_{split[name].modalities[0]}" == name
        assert len(split[name].modalities) == 1
    assert list(split_modalities(make_inputs(face, voice), names, parts=False)) == expected[:1]


def test_a_prediction():
    inputs = make_inputs(
        voice=False, states=(Reason.NO_AUDIO,), warnings=("dark",), damaged_packets=2
    )
    probs = dict(zip(EMOTIONS, [0.25, 0.5, 0.125, 0.125, 0, 0, 0], strict=True))
    p = make_prediction("a.mp4", inputs, {"probs": probs, "probs_face": probs})
    assert (p.path, p.label, p.confidence, p.modalities) == ("a.mp4", "disgust", 0.5, ("face",))
    assert (p.states, p.warnings) == ((Reason.NO_AUDIO,), ("dark",))
    assert (p.faces, p.damage, p.duration_s) == (FaceCount(1, 3), Damage(2, 0.0), 1.0)
    assert (p.probs, p.probs_face, p.probs_voice) == (probs, probs, None)
    assert p.degraded
    assert not make_prediction(None, make_inputs(), {"probs": probs}).degraded
    assert make_prediction(None, make_inputs(damaged_packets=1), {"probs": probs}).degraded


class StubModel:
    """Angry from the face, disgust from the voice, fear from both."""

    bundle = SimpleNamespace(inputs=MASKED, model_path="model.onnx")

    def compute_probs(self, clips):
        picks = [2 if len(c.modalities) == 2 else c.modalities == ("voice",) for c in clips]
        return np.eye(7, dtype=np.float32)[np.array(picks, int)]


def test_a_window_from_each_modality():
    w = predict_window(StubModel(), Window(0, 3, make_inputs(face_id=4)), parts=True)
    assert (w.label, w.confidence, w.modalities) == ("fear", 1.0, ("face", "voice"))
    assert w.probs_face["angry"] == w.probs_voice["disgust"] == 1
    assert w.face == Face(4, (1.0, 2.0, 3.0, 4.0))
    assert (w.crop.shape, w.crop_s) == ((8, 8, 3), 1.5)
    without = predict_window(StubModel(), Window(0, 3, make_inputs()))
    assert (without.probs_face, without.probs_voice) == (None, None)
    alone = predict_window(StubModel(), Window(0, 3, make_inputs(face=False)), parts=True)
    assert (alone.label, alone.probs_face, alone.face, alone.crop) == ("disgust", None, None, None)


def test_a_window_that_abstains():
    inputs = make_inputs(False, False, states=(Reason.NO_FACE, Reason.SILENT_AUDIO))
    w = predict_window(StubModel(), Window(1, 4, inputs), parts=True)
    assert w.to_dict() == {
        "start_s": 1, "end_s": 4, "label": None, "confidence": None, "probs": None,
        "modalities": [], "states": ["no_face", "silent_audio"], "face": None,
        "probs_face": None, "probs_voice": None,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_prediction_that_is_not_a_number_is_refused(bad):
    class Broken(StubModel):
        """Right about the whole clip, wrong about the last modality alone."""

        def compute_probs(self, clips):
            probs = super().compute_probs(clips)
            probs[-1, 3] = bad
            return probs

    with pytest.raises(BundleError, match="the window at 2 s is not a number") as caught:
        predict_window(Broken(), Window(2, 5, make_inputs()), parts=True)
    assert (caught.value.path, caught.value.reason) == ("model.onnx", Reason.BAD_BUNDLE)


def build(windows, duration_s=4.5, warnings=()):
    state = ReadState(duration_s, duration_s, Damage(), tuple(warnings))
    stream = WindowStream("a.mp4", 3.0, 1.0, iter([*((w, state) for w in windows), (None, state)]))
    builder = TimelineBuilder(stream, None)
    for window in stream:
        builder.add(window)
    return builder.build()


def test_a_timeline_of_windows():
    first, second = Face(0, (1, 2, 3, 4)), Face(1, (5, 6, 7, 8))
    t = build(
        [
            make_window(0, None, states=(Reason.NO_FACE, Reason.NO_AUDIO), face=second),
            make_window(1, "happy", states=(Reason.NO_FACE,), face=first),
        ],
        warnings=["a scratch"],
    )
    assert (t.path, t.window_s, t.hop_s, t.duration_s) == ("a.mp4", 3.0, 1.0, 4.5)
    assert [(s.start_s, s.end_s, s.label) for s in t.segments] == [(0, 2, None), (2, 4.5, "happy")]
    assert t.states == {"no_face": 2, "no_audio": 1}
    assert t.faces == (second, first)
    assert (t.degraded, t.warnings, t.end_s) == (True, ("a scratch",), 4.5)
    assert not hasattr(t.windows[0], "crop")
    assert list(t.to_dict()) == [
        "schema", "path", "window_s", "hop_s", "windows", "segments", "duration_s", "damage",
        "warnings",
    ]  # fmt: skip
    check_predicted(t)
    assert build([make_window(0, "sad"), make_window(1, "sad")], duration_s=2.0).end_s == 4.0


def test_a_timeline_without_a_prediction_is_refused():
    t = build([make_window(0, None, states=(Reason.NO_FACE, Reason.NO_AUDIO))])
    with pytest.raises(ClipError, match=r"no_modality.*no_face and no_audio"):
        check_predicted(t)
