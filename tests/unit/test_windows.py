"""Windows of recordings made on the spot, with scripted detections."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason, UsageError
from keras_emo.features.clip import prepare_clip
from keras_emo.inference import windows as windows_module
from keras_emo.inference.predict import WindowStream, choose_lengths, read_windows
from keras_emo.inference.windows import WindowCutter
from keras_emo.labels import EMOTIONS
from keras_emo.media.recording import Frame, Streams
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=32, min_confidence=0.8))
BOTH = ("face", "face_mask", "mfcc", "mfcc_mask")


class StubModel:
    """Happy with a face, sad from the voice alone; keeps what it was given."""

    def __init__(self, detector, spec=SPEC, inputs=BOTH, modalities=("face", "voice")):
        self.bundle = SimpleNamespace(spec=spec, inputs=inputs, modalities=modalities)
        self.detector, self.threads, self.given = detector, 1, []

    def compute_probs(self, clips):
        self.given += clips
        label = "sad" if clips[0].face is None else "happy"
        return np.eye(7, dtype=np.float32)[[EMOTIONS.index(label)]]


def stream(model, path, window_s=None, hop_s=None, parts=False) -> WindowStream:
    lengths = choose_lengths(model.bundle, window_s, hop_s)
    return WindowStream(path, *lengths, read_windows(model, path, *lengths, parts))


@pytest.fixture
def face(make):
    return make.face((10, 10, 20, 20))


def grey(make, seconds, fps=10):
    n = round(seconds * fps)
    return [np.full((48, 64, 3), 20 + 200 * i // n, np.uint8) for i in range(n)]


def noise(seconds, rate_hz=48_000):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)


def spans(windows):
    return [(round(w.start_s, 2), round(w.end_s, 1)) for w in windows]


@pytest.mark.parametrize(
    ("length_s", "expected"),
    [
        (1.0, [(0, 1)]),
        (3.0, [(0, 3)]),
        (3.4, [(0, 3.4)]),
        (3.7, [(0, 3), (1, 3.7)]),
        (5.0, [(0, 3), (1, 4), (2, 5)]),
        (5.3, [(0, 3), (1, 4), (2, 5.3)]),
    ],
)
def test_windows_of_a_recording(length_s, expected, make, face, tmp_path):
    sound = noise(length_s)
    path = make.video(tmp_path / "a.mkv", grey(make, length_s), fps=10, sound=sound)
    model = StubModel(make.detector([face]))
    windows = stream(model, path)
    found = list(windows)
    assert spans(found) == expected
    assert {a.label for a in found} == {"happy"}
    assert [a.states for a in found] == [()] * len(expected)
    assert windows.duration_s == pytest.approx(length_s, abs=0.1)
    assert len(model.detector.frames) == len({t for a in found for t in a.times_s.tolist()})
    assert {a.face.id for a in found} == {0}


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
@pytest.mark.parametrize("length_s", [0.7, 2.9, 3.0, 3.2])
def test_a_clip_of_one_window_is_as_prepare_clip_has_it(length_s, rate_hz, make, face, tmp_path):
    path = make.video(
        tmp_path / "a.mkv", grey(make, length_s, 30), sound=noise(length_s, rate_hz),
        rate_hz=rate_hz, audio_codec="pcm_f32le",
    )  # fmt: skip
    windows = [[face], [], [face], [face], [], [], [], [], [face]]
    whole = prepare_clip(path, SPEC, make.detector(*windows))
    model = StubModel(make.detector(*windows))
    (window,) = stream(model, path)
    (part,) = model.given
    for name in ("face", "face_found", "boxes", "times_s"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
    np.testing.assert_allclose(part.mfcc, whole.mfcc, atol=1e-3 if rate_hz == 48_000 else 2)
    assert (window.modalities, window.states) == (whole.modalities, whole.states)
    assert window.end_s == pytest.approx(whole.duration_s, abs=0.01)


def test_a_window_is_as_prepare_clip_has_its_part(make, face, tmp_path):
    """The third window of a sound against a file of just those three seconds."""
    sound = noise(8.0)
    make.wav(tmp_path / "whole.wav", sound, codec="pcm_f32le")
    make.wav(tmp_path / "part.wav", sound[2 * 48_000 : 5 * 48_000], codec="pcm_f32le")
    model = StubModel(make.detector([]))
    list(stream(model, tmp_path / "whole.wav"))
    part = prepare_clip(tmp_path / "part.wav", SPEC, make.detector([]))
    np.testing.assert_array_equal(model.given[2].mfcc, part.mfcc)


def test_a_face_that_leaves_and_a_voice_that_ends(make, face, tmp_path):
    """4 s of face and voice, then voice alone, then neither, which is never predicted."""
    sound = noise(16.0)
    sound[8 * 48_000 :] = 0
    path = make.video(
        tmp_path / "a.mkv", grey(make, 16), fps=10, sound=sound, audio_codec="pcm_f32le"
    )
    model = StubModel(make.detector(*[[face]] * 12, []))
    windows = list(stream(model, path))
    labels = [a.label for a in windows]
    assert labels[:3] == ["happy"] * 3
    assert labels[5:8] == ["sad"] * 3
    assert labels[8:] == [None] * (len(labels) - 8)
    assert (windows[6].modalities, windows[6].states) == (("voice",), (Reason.NO_FACE,))
    silent = windows[9]
    assert (silent.probs, silent.modalities, silent.face) == (None, (), None)
    assert silent.states == (Reason.NO_FACE, Reason.SILENT_AUDIO)


def test_without_sound_or_picture(make, face, tmp_path):
    mute = make.video(tmp_path / "a.mkv", grey(make, 5), fps=10)
    windows = list(stream(StubModel(make.detector([face])), mute))
    assert {(*a.modalities, *a.states) for a in windows} == {("face", Reason.NO_AUDIO)}
    sound = make.wav(tmp_path / "a.wav", noise(5))
    windows = list(stream(StubModel(make.detector([face])), sound))
    assert {(*a.modalities, *a.states) for a in windows} == {("voice", Reason.NO_VIDEO)}
    # a network of one modality needs nothing else
    seer = StubModel(make.detector([face]), inputs=("face",), modalities=("face",))
    assert {a.label for a in stream(seer, mute)} == {"happy"}
    with pytest.raises(ClipError):
        list(stream(seer, tmp_path / "none.mp4"))


def test_sound_that_ends_early(make, face, tmp_path):
    path = make.video(tmp_path / "a.mkv", grey(make, 20, 5), fps=5, sound=noise(4))
    windows = list(stream(StubModel(make.detector([face])), path))
    assert len(windows) == 18
    assert {tuple(a.states) for a in windows[5:]} == {(Reason.NO_AUDIO,)}
    assert {tuple(a.states) for a in windows[:4]} == {()}


def test_other_lengths(make, face, tmp_path):
    path = make.video(tmp_path / "a.mkv", grey(make, 6), fps=10, sound=noise(6))
    model = StubModel(make.detector([face]))
    assert spans(stream(model, path, 2.0, 2.0)) == [(0, 2), (2, 4), (4, 6)]
    assert len(list(stream(model, path, 1.0, 0.5))) == 11
    for window_s, hop_s in ((3.5, None), (0.1, None), (2.0, 2.5), (2.0, 0.1)):
        with pytest.raises(UsageError):
            stream(model, path, window_s, hop_s)
    long = ClipSpec(SPEC.face, AudioSpec(duration_s=5.5))
    assert stream(StubModel(None, long), path).window_s == 3.0
    assert stream(StubModel(None, long), path, 5.5).window_s == 5.5
    short = ClipSpec(SPEC.face, AudioSpec(duration_s=2.0))
    assert stream(StubModel(None, short), path).window_s == 2.0


def test_damage_is_known_at_the_end(make, tmp_path):
    data = make.wav(tmp_path / "a.wav", noise(9)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    windows = stream(StubModel(make.detector([])), tmp_path / "cut.wav")
    list(windows)
    assert windows.damage.missing_s == pytest.approx(4.5, abs=0.1)
    assert "cut short" in windows.warnings[0]


def test_picture_and_sound_that_lie_too_far_apart(make, face, tmp_path, monkeypatch):
    path = make.video(tmp_path / "a.mkv", grey(make, 30, 5), fps=5, sound=noise(30))
    assert {a.label for a in stream(StubModel(make.detector([face])), path)} == {"happy"}
    monkeypatch.setattr(windows_module, "PATIENCE_S", 2.0)
    windows = stream(StubModel(make.detector([face])), path)
    assert Reason.NO_AUDIO in next(windows).states
    list(windows)
    assert "far apart" in windows.warnings[0]


def cut(make, face):
    streams = Streams(has_video=True, has_audio=True)
    return WindowCutter("x", streams, SPEC, make.detector([face]), ("face", "voice"), 3.0, 1.0)


def test_memory_stays_the_same_however_long(make, face):
    """Minutes of sound and picture, the crops and the sound of open windows at most."""
    cutter, frame, second = cut(make, face), np.zeros((48, 64, 3), np.uint8), noise(1)
    peaks, n_windows = [], 0
    tracemalloc.start()
    for i in range(150):
        for k in range(3):
            cutter.on_frame(Frame(frame, i + k / 3))
        cutter.on_audio(second, 48_000, float(i))
        n_windows += len(list(cutter.pop()))
        if i in (50, 149):
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert n_windows == 147
    assert peaks[1] < 1.1 * peaks[0]


def test_a_clock_that_jumps_is_silence(make, face):
    cutter = cut(make, face)
    frame = np.zeros((48, 64, 3), np.uint8)
    for i in range(12):
        cutter.on_frame(Frame(frame, i / 3))
    cutter.on_audio(noise(4), 48_000, 0.0)
    cutter.on_audio(noise(4), 48_000, 100.0)
    windows = [*cutter.pop(), *cutter.finish(104.0)]
    assert [w.start_s for w in windows] == list(range(102))
    assert windows[0].inputs.modalities == ("face", "voice")
    assert windows[50].inputs.modalities == ()
    assert Reason.SILENT_AUDIO in windows[50].inputs.states
    assert windows[-1].inputs.modalities == ("voice",)


def test_sound_that_is_not_finite(make, face):
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ClipError) as caught:
            cut(make, face).on_audio(np.array([0, value], np.float32), 48_000, 7.0)
        assert caught.value.reason is Reason.NON_FINITE_AUDIO
