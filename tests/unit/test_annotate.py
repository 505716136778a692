"""The annotated copy of a video."""

import os

import av
import numpy as np
import pytest

from keras_emo.errors import ClipError, EnvironmentFailure
from keras_emo.labels import EMOTIONS
from keras_emo.render.annotate import Annotations, FaceTrail, write_annotated
from keras_emo.render.chart import COLORS

from .timelines import make_timeline, make_window


def follow(*boxes):
    """A trail of windows a second apart, the face in one box throughout each."""
    trail = FaceTrail(3.0, 1.0)
    for start_s, box in enumerate(boxes):
        window = make_window(
            float(start_s), None,
            times_s=np.arange(3 * start_s, 3 * start_s + 9, dtype=np.float32) / 3,
            boxes=np.tile(np.array(box, np.float32), (9, 1)),
        )  # fmt: skip
        trail.add(window)
    return trail


@pytest.fixture
def notes():
    """Three happy windows, and where the face is."""
    probs = np.full((3, 7), 0.05, np.float32)
    probs[:, EMOTIONS.index("happy")] = 0.7
    return make_timeline(probs), follow(*[(60, 40, 80, 90)] * 3)


def test_later_windows_know_better_where_the_face_is():
    trail = follow((0, 0, 10, 10), (50, 0, 10, 10))
    table = trail.table()
    np.testing.assert_allclose(table[:, 0], np.arange(12) / 3, atol=1e-6)
    assert (table[:, 1] == np.where(table[:, 0] < 2, 0, 50)).all()
    notes = Annotations(make_timeline(np.full((2, 7), np.nan)), trail)
    assert notes.find_box(0.1) == pytest.approx((0, 0, 10, 10))
    assert notes.find_box(2 - 1 / 6)[0] == pytest.approx(25, abs=0.01)
    assert notes.find_box(6.0) is None
    assert notes.find_probs(1.0) is None
    assert notes.find_label(1.0) is None


def read(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        kinds = [(s.type, s.codec_context.name) for s in container.streams]
    times_s = [f.time for f in frames]
    return [f.to_ndarray(format="rgb24") for f in frames], times_s, kinds


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_size_rate_and_sound_stay(suffix, make, tmp_path, notes):
    frames = [np.full((240, 320, 3), 90, np.uint8)] * 50
    source = make.video(tmp_path / f"a.{suffix}", frames, 25, sound=make.sine(2.0), bf="2")
    target = tmp_path / "out" / "b.mp4"
    write_annotated(source, target, *notes)
    drawn, times_s, kinds = read(target)
    assert kinds == [("video", "h264"), ("audio", "aac")]
    assert [f.shape for f in drawn] == [(240, 320, 3)] * 50
    np.testing.assert_allclose(np.array(times_s) - times_s[0], np.arange(50) / 25, atol=2e-3)
    for frame in (drawn[0], drawn[25], drawn[-1]):
        edge = frame[45:120, 60]
        assert np.abs(edge.mean(axis=0) - COLORS["happy"]).max() < 90  # thin, and color is coarse
        assert np.abs(frame[60:100, 90:110].mean() - 90) < 4  # inside nothing is drawn
        assert frame[-20:, :20].mean() < 60  # the bars' ground
    with av.open(str(source)) as a, av.open(str(target)) as b:
        lengths = [sum(f.samples for f in c.decode(c.streams.audio[0])) for c in (a, b)]
        assert abs(lengths[0] - lengths[1]) <= 2048
    assert os.listdir(tmp_path / "out") == ["b.mp4"]


def test_other_sound_is_coded_again(make, tmp_path, notes):
    sound = np.stack([make.sine(1.0, 22_050), make.sine(1.0, 22_050, 880.0)])
    source = make.video(
        tmp_path / "a.mkv", make.grey_frames(30), sound=sound, rate_hz=22_050,
        audio_codec="pcm_s16le",
    )  # fmt: skip
    write_annotated(source, tmp_path / "b.mp4", *notes)
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.layout.name) == ("aac", "stereo")
        left, right = np.concatenate([f.to_ndarray() for f in container.decode(stream)], axis=1)
    for channel, hz in ((left, 440), (right, 880)):
        middle = channel[4000:-4000]
        found = np.fft.rfftfreq(len(middle), 1 / 22_050)[np.abs(np.fft.rfft(middle)).argmax()]
        assert found == pytest.approx(hz, abs=10)


def test_odd_sizes_and_no_sound(make, tmp_path, notes):
    frames = [np.full((49, 65, 3), 90, np.uint8)] * 5
    write_annotated(
        make.video(tmp_path / "a.mkv", frames, codec="ffv1"), tmp_path / "b.mp4", *notes
    )
    drawn, _, kinds = read(tmp_path / "b.mp4")
    assert (drawn[0].shape, kinds) == ((50, 66, 3), [("video", "h264")])


def test_what_cannot_be_annotated(make, tmp_path, notes):
    source = make.video(tmp_path / "a.mp4", make.grey_frames(5))
    before = source.read_bytes()
    with pytest.raises(ClipError):
        write_annotated(make.wav(tmp_path / "a.wav", make.sine()), tmp_path / "b.mp4", *notes)
    with pytest.raises(EnvironmentFailure):
        write_annotated(source, source / "below.mp4", *notes)
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.wav"]
