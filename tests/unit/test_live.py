"""Live sources: the newest picture only, sound along with it, and every way to an end."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.inference import realtime as live
from keras_emo.inference.realtime import LivePredictions
from keras_emo.labels import EMOTIONS
from keras_emo.media.live import Latest, Stream, Webcam, open_source, wait_for
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

SPEC = ClipSpec(
    face=FaceSpec(size_px=32, min_confidence=0.8, frame_rate_hz=10.0),
    audio=AudioSpec(duration_s=1.0),
)


class StubPredictor:
    """Happy; takes delay_s for an answer."""

    def __init__(self, detector, delay_s=0.0):
        inputs = ("face", "face_mask", "mfcc", "mfcc_mask")
        self.bundle = SimpleNamespace(spec=SPEC, inputs=inputs, modalities=("face", "voice"))
        self.detector, self.threads, self.delay_s, self.given = detector, 1, delay_s, []

    def answer(self, clips):
        time.sleep(self.delay_s)
        self.given += clips
        return np.eye(7, dtype=np.float32)[[EMOTIONS.index("happy")]]


class FakeCamera:
    """Pictures at fps for so long; then it ends, fails or hangs."""

    has_audio = False

    def __init__(self, seconds, fps=50, error=None, hang=False):
        self.seconds, self.fps, self.error, self.hang = seconds, fps, error, hang

    def read(self, latest):
        start_s = time.monotonic()
        for i in range(round(self.seconds * self.fps)):
            if latest.stopped:
                return
            wait_for(start_s + i / self.fps, lambda: False)
            latest.put(np.full((48, 64, 3), i % 256, np.uint8), i / self.fps)
        while self.hang and not latest.stopped:
            time.sleep(0.01)
        if self.error:
            raise self.error


@pytest.fixture
def detector(make):
    return make.detector([make.face((10, 10, 20, 20))])


def run(predictor, source, **options):
    with LivePredictions(predictor, source, "camera", 1.0, 0.5, **options) as answers:
        return list(answers), answers


def test_only_the_newest_picture_is_kept():
    latest = Latest()
    for i in range(1000):
        latest.put(i, i / 10)
    assert latest.take(0.0) == ((999, 99.9), [])
    assert latest.take(0.0) == (None, [])
    assert (latest.n_given, latest.n_dropped) == (1000, 999)


def test_sound_is_bounded():
    latest = Latest()
    for i in range(1000):
        latest.put_sound(np.zeros(10, np.float32), 10, float(i))
    _, sound = latest.take(0.0)
    assert [s[2] for s in sound] == [float(i) for i in range(989, 1000)]


def test_a_slow_consumer_is_never_late(detector):
    """It answers at half the speed that is asked for, and is still at the camera's heels."""
    predictor = StubPredictor(detector, delay_s=1.0)
    seen_s = []
    with LivePredictions(predictor, FakeCamera(6.0), "camera", 1.0, 0.5) as answers:
        for answer in answers:
            seen_s.append((answer.end_s, answers.latest.n_given / 50))
    assert len(seen_s) >= 3
    assert all(now_s - end_s < 2.5 for end_s, now_s in seen_s)  # a queue would be 3 s behind
    assert answers.n_skipped >= 2
    assert answers.latest.n_dropped > 100
    assert len(predictor.detector.frames) < 60


def test_answers_of_a_camera(detector):
    found, answers = run(StubPredictor(detector), FakeCamera(2.2))
    assert [a.end_s for a in found][:3] == [1.0, 1.5, 2.0]
    assert {a.label for a in found} == {"happy"}
    assert {tuple(a.states) for a in found} == {(Reason.NO_AUDIO,)}
    assert not answers._thread.is_alive()


def test_boxes_are_in_px_of_the_camera(make):
    """A picture larger than the network's decoder gives is shrunk; no caller needs to know."""
    predictor = StubPredictor(make.detector([make.face((100, 50, 40, 40))]))

    class Large(FakeCamera):
        def read(self, latest):
            for i in range(15):
                latest.put(np.zeros((1440, 2560, 3), np.uint8), i / 10)
                time.sleep(0.1)

    found, _ = run(predictor, Large(1.5))
    assert found[0].box == pytest.approx((200, 100, 80, 80))
    assert predictor.detector.frames[0].shape == (720, 1280, 3)


def test_max_s(detector):
    found, answers = run(StubPredictor(detector), FakeCamera(30.0), max_s=1.6)
    assert [a.end_s for a in found][:2] == [1.0, 1.5]
    assert found[-1].end_s <= 1.61
    assert answers.time_s < 2


def test_a_source_that_fails_or_stalls(detector, monkeypatch):
    error = ClipError("camera", Reason.UNREADABLE, "unplugged")
    with pytest.raises(ClipError, match="unplugged"):
        run(StubPredictor(detector), FakeCamera(0.5, error=error))
    monkeypatch.setattr(live, "_STALLED_S", 0.1)
    found, _ = run(StubPredictor(detector), FakeCamera(0.5, hang=True), max_s=3.0)
    assert found[0].label == "happy"
    assert (found[-1].label, found[-1].states[0]) == (None, Reason.NO_FRAMES)


def test_stopping_ends_the_thread(detector):
    before = threading.active_count()
    with LivePredictions(StubPredictor(detector), FakeCamera(60.0), "camera", 1.0, 0.5) as answers:
        next(answers)
    assert threading.active_count() == before


def test_a_file_goes_at_its_own_speed_with_its_sound(make, detector, tmp_path):
    frames = make.grey_frames(45)
    path = make.video(tmp_path / "a.mp4", frames, sound=make.sine(1.5, 44_100), rate_hz=44_100)
    predictor, start_s = StubPredictor(detector), time.monotonic()
    source = open_source(str(path))
    assert source.has_audio
    found, _ = run(predictor, source)
    assert 1.3 < time.monotonic() - start_s < 10
    assert found[0].modalities == ["face", "voice"]
    assert predictor.given[0].mfcc.shape == SPEC.audio.shape
    assert found[-1].end_s == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ftp://x/a.mp4", Reason.FORMAT_NOT_ALLOWED),
        ("concat:a.mp4|b.mp4", Reason.NOT_FOUND),
        ("data://text/plain,x", Reason.FORMAT_NOT_ALLOWED),
        ("none.mp4", Reason.NOT_FOUND),
        ("http://127.0.0.1:9/a.mkv", Reason.UNREADABLE),
    ],
)
def test_sources_that_are_not_opened(name, reason):
    with pytest.raises(ClipError) as caught:
        open_source(name)
    assert caught.value.reason is reason


def test_sources_without_pictures(make, tmp_path):
    with pytest.raises(ClipError) as caught:
        Stream(str(make.wav(tmp_path / "a.wav", make.sine())))
    assert caught.value.reason is Reason.NO_VIDEO
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    with pytest.raises(ClipError):
        Stream(str(tmp_path / "list.mp4"))
    assert isinstance(open_source("3"), Webcam)
    with pytest.raises(ClipError) as caught:
        Webcam(97).read(Latest())
    assert caught.value.reason is Reason.NOT_FOUND
