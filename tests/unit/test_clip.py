import threading
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import prepare_clip
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=32, min_confidence=0.8))


@pytest.fixture(scope="module")
def files(make, tmp_path_factory):
    """Recordings of one second (four sampled frames), each with something amiss."""
    folder = tmp_path_factory.mktemp("clips")
    frames = make.grey_frames(31)
    for name, sound in {
        "whole": make.sine(),
        "mute": None,
        "silent": np.zeros(48_000),
        "offset": np.full(48_000, 0.5),  # a constant is no sound
        "brief": make.sine(0.02),
    }.items():
        if name in ("whole", "mute"):
            make.video(folder / f"{name}.mp4", frames, sound=sound)
        if sound is not None:
            make.wav(folder / f"{name}.wav", sound)
    return folder


@pytest.fixture
def face(make):
    return make.face((10, 10, 20, 20))


def rejected(source, detector, reason, spec=SPEC, **options) -> ClipError:
    with pytest.raises(ClipError) as caught:
        prepare_clip(source, spec, detector, **options)
    assert caught.value.reason is reason
    return caught.value


def test_whole_clip(files, make, face):
    detector = make.detector([face])
    inputs = prepare_clip(files / "whole.mp4", SPEC, detector)
    assert (inputs.face.shape, inputs.face.dtype) == ((4, 32, 32, 3), np.uint8)
    assert (inputs.mfcc.shape, inputs.mfcc.dtype) == (SPEC.audio.shape, np.float32)
    assert [make.read_grey(f) for f in inputs.face] == [0, 10, 20, 30]
    assert inputs.face_found.tolist() == [True] * 4
    np.testing.assert_allclose(inputs.times_s, [0, 1 / 3, 2 / 3, 1], atol=1e-3)
    np.testing.assert_array_equal(inputs.boxes, [face.box] * 4)
    assert (inputs.modalities, inputs.states, inputs.warnings) == (("face", "voice"), (), ())
    assert inputs.frames_examined == len(detector.frames) == 4
    assert inputs.duration_s == pytest.approx(1.03, abs=0.05)


@pytest.mark.parametrize(
    ("sound", "state"),
    [("silent", Reason.SILENT_AUDIO), ("offset", Reason.SILENT_AUDIO), ("brief", Reason.TOO_SHORT)],
)
def test_sound_of_no_use_is_a_state(sound, state, files, make, face):
    source = ClipSource(video=files / "mute.mp4", audio=files / f"{sound}.wav")
    inputs = prepare_clip(source, SPEC, make.detector([face]))
    assert (inputs.states, inputs.modalities, inputs.mfcc) == ((state,), ("face",), None)
    alone = ClipSource(audio=files / f"{sound}.wav")
    error = rejected(alone, make.detector([face]), Reason.NO_MODALITY)
    assert state in error.cause
    assert Reason.NO_VIDEO in error.cause


def test_no_sound_is_a_state(files, make, face):
    inputs = prepare_clip(files / "mute.mp4", SPEC, make.detector([face]))
    assert (inputs.states, inputs.modalities, inputs.mfcc) == ((Reason.NO_AUDIO,), ("face",), None)


def test_no_face_is_a_state(files, make):
    inputs = prepare_clip(files / "whole.mp4", SPEC, make.detector([]))
    assert (inputs.states, inputs.modalities) == ((Reason.NO_FACE,), ("voice",))
    assert (inputs.face, inputs.frames_examined) == (None, 4)
    assert len(inputs.face_found) == len(inputs.times_s) == len(inputs.boxes) == 0


def test_no_picture_is_a_state(files, make, face):
    detector = make.detector([face])
    for source in (files / "whole.wav", ClipSource(audio=files / "whole.wav")):
        inputs = prepare_clip(source, SPEC, detector)
        assert (inputs.states, inputs.modalities) == ((Reason.NO_VIDEO,), ("voice",))
    assert detector.frames == []


def test_neither_is_rejected_and_says_why(files, make):
    error = rejected(files / "mute.mp4", make.detector([]), Reason.NO_MODALITY)
    assert error.path == str(files / "mute.mp4")
    assert error.cause == "no_face and no_audio; 4 frames examined"


def test_unusable_file_rejects_the_clip(files, make, face, tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        broken = np.append(make.sine(), np.float32(value))
        path = make.wav(tmp_path / "broken.wav", broken, codec="pcm_f32le")
        source = ClipSource(video=files / "mute.mp4", audio=path)
        error = rejected(source, make.detector([face]), Reason.NON_FINITE_AUDIO)
        assert error.path == str(path)
    source = ClipSource(video=files / "mute.mp4", audio=files / "gone.wav")
    rejected(source, make.detector([face]), Reason.NOT_FOUND)
    rejected(files / "gone.mp4", make.detector([face]), Reason.NOT_FOUND)


def test_sound_file_replaces_the_videos_own(files, make, face):
    own = prepare_clip(files / "whole.mp4", SPEC, make.detector([face]))
    source = ClipSource(video=files / "whole.mp4", audio=files / "silent.wav")
    other = prepare_clip(source, SPEC, make.detector([face]))
    assert (own.states, other.states) == ((), (Reason.SILENT_AUDIO,))
    apart = ClipSource(video=files / "mute.mp4", audio=files / "whole.wav")
    assert prepare_clip(apart, SPEC, make.detector([face])).modalities == ("face", "voice")


def test_face_pictures_with_a_sound_file(files, make, face, tmp_path):
    paths = []
    for i, rgb in enumerate(make.grey_frames(3)):
        paths.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(paths[-1]), rgb)
    source = ClipSource(audio=files / "whole.wav", frames=tuple(paths))
    inputs = prepare_clip(source, SPEC, make.detector([face]))
    assert [make.read_grey(f) for f in inputs.face] == [0, 1, 2]
    np.testing.assert_allclose(inputs.times_s, [0, 1 / 3, 2 / 3])
    assert inputs.modalities == ("face", "voice")
    short = ClipSpec(face=FaceSpec(size_px=32, max_frames=2), audio=SPEC.audio)
    cut = prepare_clip(source, short, make.detector([face]))
    assert (len(cut.face), cut.frames_examined) == (2, 2)
    assert "first 2 sampled frames" in cut.warnings[0]


def test_only_what_is_asked_for(files, make, face):
    detector = make.detector([face])
    voice = prepare_clip(files / "whole.mp4", SPEC, detector, modalities=["voice"])
    assert (voice.modalities, voice.states, detector.frames) == (("voice",), (), [])
    seen = prepare_clip(files / "whole.mp4", SPEC, detector, modalities=["face"])
    assert (seen.modalities, seen.states) == (("face",), ())
    rejected(files / "whole.wav", detector, Reason.NO_VIDEO, modalities=["face"])
    rejected(files / "mute.mp4", detector, Reason.NO_AUDIO, modalities=["voice"])


def test_sound_at_another_rate_gives_the_same_mfcc(make, tmp_path):
    """What 16 kHz holds of a sound, it holds at 48 kHz too."""
    waves = [
        make.wav(tmp_path / f"{rate_hz}.wav", make.sine(3.0, rate_hz, 700.0), rate_hz, "pcm_f32le")
        for rate_hz in (16_000, 44_100, 48_000)
    ]
    low, middle, own = (prepare_clip(p, SPEC, make.detector([])).mfcc for p in waves)
    assert np.abs(middle - own)[:, 10:-10].mean() < 2
    assert np.abs(low - own)[:, 10:-10].mean() < 2
    quiet = make.wav(tmp_path / "quiet.wav", make.sine(level=10 ** (-66 / 20)))
    assert prepare_clip(quiet, SPEC, make.detector([])).modalities == ("voice",)


def test_a_face_in_few_frames_is_none(make, face, tmp_path):
    path = make.video(tmp_path / "a.mp4", make.grey_frames(61), sound=make.sine())
    spec = ClipSpec(FaceSpec(size_px=32, min_confidence=0.8, min_coverage=0.2), SPEC.audio)
    inputs = prepare_clip(path, spec, make.detector([face], []))
    assert (inputs.face, inputs.states) == (None, (Reason.NO_FACE,))
    assert "1 of 7" in inputs.warnings[0]
    assert prepare_clip(path, spec, make.detector([face], [face], [])).states == ()


def test_frames_are_let_go(files, make, face):
    """Of a clip with a face in every frame no full frame outlives its crop."""
    alive = []

    class Watching:
        def detect(self, rgb):
            assert not any(ref() is not None for ref in alive[:-1])
            alive.append(weakref.ref(rgb))
            return [face]

    prepare_clip(files / "whole.mp4", SPEC, Watching())
    assert len(alive) == 4


def test_damage_is_counted(files, make, face, tmp_path):
    data = (files / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    source = ClipSource(video=files / "mute.mp4", audio=tmp_path / "cut.wav")
    inputs = prepare_clip(source, SPEC, make.detector([face]))
    assert inputs.missing_s == pytest.approx(0.5, abs=0.01)
    assert (inputs.states, inputs.warnings) == ((), ("cut short: 0.5 s less than declared",))


def test_stream_without_decoder_leaves_the_other(files, make, face, tmp_path):
    source = make.video(tmp_path / "whole.mkv", make.grey_frames(31), sound=make.sine())
    path = tmp_path / "a.mkv"
    for tag, left in ((b"V_MPEG4/ISO/AVC", "voice"), (b"A_AAC", "face")):
        path.write_bytes(source.read_bytes().replace(tag, tag[:-3] + b"ZZZ"))
        inputs = prepare_clip(path, SPEC, make.detector([face]))
        assert (inputs.modalities, inputs.states) == ((left,), (Reason.UNSUPPORTED_CODEC,))
        assert "no decoder" in inputs.warnings[0]
    rejected(path, make.detector([]), Reason.UNSUPPORTED_CODEC)


def test_boxes_are_in_px_of_the_file(make, tmp_path):
    """A large picture is shrunk before anything else; no caller needs to know."""
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[80:160, 120:200] = 200
    path = make.video(tmp_path / "a.mp4", [frame] * 11)
    spec = ClipSpec(FaceSpec(size_px=32, min_face_px=20, detect_max_px=160, decode_max_px=160))
    detector = make.detector([make.face((60, 40, 40, 40))])
    inputs = prepare_clip(path, spec, detector)
    assert {f.shape for f in detector.frames} == {(120, 160, 3)}
    np.testing.assert_array_equal(inputs.boxes, [(120, 80, 80, 80)] * 2)
    assert inputs.boxes.dtype == np.float32
    assert (inputs.face > 150).all()


def test_the_subject_is_one_person_throughout(files, make, face):
    """Another face is larger in one frame: before, the crops went there and back."""
    other = make.face((36, 4, 24, 24))
    smaller = make.face((36, 4, 12, 12))
    frames = [face, smaller], [face, other], [smaller, face], [face, smaller]
    inputs = prepare_clip(files / "mute.mp4", SPEC, make.detector(*frames))
    np.testing.assert_array_equal(inputs.boxes, [face.box] * 4)
    assert inputs.warnings == ("several faces; the largest was taken",)
    central = ClipSpec(replace(SPEC.face, speaker="central"))
    middle = make.face((28, 20, 10, 10))
    inputs = prepare_clip(files / "mute.mp4", central, make.detector([face, middle]))
    np.testing.assert_array_equal(inputs.boxes, [middle.box] * 4)
    assert inputs.warnings == ("several faces; the most central was taken",)


def test_threads_change_nothing(files, make, face):
    one, eight = (
        prepare_clip(files / "whole.mp4", SPEC, make.detector([face]), threads=n) for n in (1, 8)
    )
    np.testing.assert_array_equal(one.face, eight.face)
    np.testing.assert_array_equal(one.mfcc, eight.mfcc)
    np.testing.assert_array_equal(one.times_s, eight.times_s)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_failing_detector_ends_the_reading(threads, files):
    class Failing:
        n_seen = 0

        def detect(self, rgb):
            self.n_seen += 1
            if self.n_seen == 3:
                raise RuntimeError("no memory")
            return []

    detector, before = Failing(), threading.active_count()
    with pytest.raises(RuntimeError, match="no memory"):
        prepare_clip(files / "whole.mp4", SPEC, detector, threads=threads)
    assert (detector.n_seen, threading.active_count()) == (3, before)
