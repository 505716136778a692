"""Predictions for live sources: the newest picture, its sound, and every way to an end."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.inference import realtime
from keras_emo.inference.realtime import LivePredictions
from keras_emo.labels import EMOTIONS
from keras_emo.media.live import open_source
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

SPEC = ClipSpec(
    face=FaceSpec(size_px=32, min_confidence=0.8, frame_rate_hz=10.0),
    audio=AudioSpec(duration_s=1.0),
)
FPS = 50
FACE_BOX = (10, 10, 20, 20)


class Camera:
    """A camera whose clock is what the model has done: nothing here depends on the machine.

    A picture is detected in 0.1 s of its time, a window predicted in predict_s. After seconds it
    ends, with an error or not; hang: it stays open but shows nothing.
    """

    has_audio = False

    def __init__(self, seconds, face, predict_s=0.0, error=None, hang=False, shape=(48, 64, 3)):
        self.n, self.number, self.face = round(seconds * FPS), 0, face
        self.predict_s, self.error, self.hang, self.shape = predict_s, error, hang, shape
        self.frames, self.given, self.threads, self.detector = [], [], 1, self
        inputs = ("face", "face_mask", "mfcc", "mfcc_mask")
        self.bundle = SimpleNamespace(spec=SPEC, inputs=inputs, modalities=("face", "voice"))

    def read(self, latest):
        self.latest = latest
        self.show(1)
        while not latest.stopped and not latest.ended:
            time.sleep(0.001)

    def show(self, n):
        """Time passes: n more pictures."""
        for _ in range(min(n, self.n - self.number)):
            self.latest.put(np.full(self.shape, self.number % 256, np.uint8), self.number / FPS)
            self.number += 1
        if self.number == self.n and not self.hang:
            self.latest.end(self.error)

    def detect(self, rgb):
        self.frames.append(rgb)
        self.show(FPS // 10)
        return [self.face]

    def compute_probs(self, clips):
        self.given += clips
        self.show(round(self.predict_s * FPS))
        return np.eye(7, dtype=np.float32)[[EMOTIONS.index("happy")]]


@pytest.fixture
def face(make):
    return make.face(FACE_BOX)


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_stall(monkeypatch):
    monkeypatch.setattr(realtime, "_STALLED_S", 60.0)


def run(camera, source=None, **options):
    with LivePredictions(camera, source or camera, "camera", 1.0, 0.5, **options) as live:
        return list(live), live


def test_windows_of_a_camera(face):
    before = threading.active_count()
    found, live = run(Camera(2.2, face))
    assert [w.end_s for w in found] == [1.0, 1.5, 2.0]
    assert {w.label for w in found} == {"happy"}
    assert {w.states for w in found} == {(Reason.NO_AUDIO,)}
    assert live.n_skipped == 0
    assert threading.active_count() == before


def test_a_slow_model_is_never_late(face):
    """It takes a second per window where half a second is asked for, and keeps up."""
    camera, late_s = Camera(8.0, face, predict_s=1.0), []
    with LivePredictions(camera, camera, "camera", 1.0, 0.5) as live:
        for window in live:
            late_s.append(camera.number / FPS - window.end_s)
    assert len(late_s) >= 5
    assert max(late_s) < 1.7  # a queue would be 4 s late
    assert live.n_skipped >= 4
    assert live.latest.n_dropped > 300
    assert len(camera.frames) < 40


def test_boxes_are_in_px_of_the_camera(make):
    """A picture larger than FaceSpec.decode_max_px is shrunk; no caller needs to know."""
    camera = Camera(1.5, make.face((100, 50, 40, 40)), shape=(1440, 2560, 3))
    found, _ = run(camera)
    assert found[0].face.box == pytest.approx((200, 100, 80, 80))
    assert camera.frames[0].shape == (720, 1280, 3)


def test_ways_to_an_end(face):
    before = threading.active_count()
    found, live = run(Camera(30.0, face), max_s=1.6)
    assert [w.end_s for w in found] == [1.0, 1.5]
    assert 1.6 <= live.time_s < 2
    error = ClipError("camera", Reason.UNREADABLE, "unplugged")
    with pytest.raises(ClipError, match="unplugged"):
        run(Camera(0.5, face, error=error))
    camera = Camera(60.0, face)
    with LivePredictions(camera, camera, "camera", 1.0, 0.5) as live:
        next(iter(live))
    assert threading.active_count() == before


def test_a_source_that_stalls(face, monkeypatch):
    monkeypatch.setattr(realtime, "_STALLED_S", 0.1)
    found, _ = run(Camera(0.5, face, hang=True), max_s=2.0)
    assert found[0].label == "happy"
    assert (found[-1].label, found[-1].states[0]) == (None, Reason.NO_FRAMES)


def test_a_file_goes_at_its_own_speed_with_its_sound(make, face, tmp_path):
    frames = make.grey_frames(45)
    path = make.video(tmp_path / "a.mp4", frames, sound=make.sine(1.5, 44_100), rate_hz=44_100)
    model, start_s = Camera(0, face), time.monotonic()
    model.show = lambda n: None
    source = open_source(str(path))
    assert source.has_audio
    found, _ = run(model, source)
    assert time.monotonic() - start_s > 1.3
    assert found[0].modalities == ("face", "voice")
    assert model.given[0].mfcc.shape == SPEC.audio.shape
    assert found[-1].end_s == pytest.approx(1.5, abs=0.1)
