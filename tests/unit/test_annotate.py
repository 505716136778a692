"""The annotated copy of a video and the picture of a timeline."""

import os

import av
import cv2
import numpy as np
import pytest

from keras_emo.errors import ClipError, EnvironmentFailure, UsageError
from keras_emo.inference.predict import WindowPrediction
from keras_emo.inference.segments import Segment, find_edges
from keras_emo.labels import EMOTIONS
from keras_emo.output import replace_file
from keras_emo.render import plot
from keras_emo.render.annotate import write_annotated
from keras_emo.render.overlay import Annotations, FaceTrail
from keras_emo.render.plot import COLOURS, draw_plot, write_plot


def make_answer(start_s, box, label="happy"):
    times_s = np.arange(3 * start_s, 3 * start_s + 9, dtype=np.float32) / 3
    boxes = np.tile(np.array(box, np.float32), (9, 1))
    return WindowPrediction(start_s, start_s + 3.0, label, None, [], [], 0, times_s, boxes)


def make_notes(n=3, label="happy", box=(60, 40, 80, 90)):
    trail = FaceTrail(3.0, 1.0)
    for i in range(n):
        trail.add(make_answer(i, box))
    probs = np.full((n, 7), 0.05, np.float32)
    probs[:, EMOTIONS.index(label)] = 0.7
    segments = [Segment(0.0, n + 2.0, label, 0.7)]
    return Annotations(probs, find_edges(n, 3.0, 1.0, n + 2.0), segments, trail)


def test_later_windows_know_better_where_the_face_is():
    trail = FaceTrail(3.0, 1.0)
    trail.add(make_answer(0, (0, 0, 10, 10)))
    trail.add(make_answer(1, (50, 0, 10, 10)))
    table = trail.table()
    np.testing.assert_allclose(table[:, 0], np.arange(12) / 3, atol=1e-6)
    assert (table[:, 1] == np.where(table[:, 0] < 2, 0, 50)).all()
    notes = Annotations(np.full((2, 7), np.nan), np.array([0.0, 2, 4]), [], trail)
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_size_rate_and_sound_stay(suffix, make, tmp_path):
    frames = [np.full((240, 320, 3), 90, np.uint8)] * 50
    source = make.video(tmp_path / f"a.{suffix}", frames, 25, sound=make.sine(2.0), bf="2")
    target = tmp_path / "out" / "b.mp4"
    write_annotated(source, target, make_notes())
    drawn, times_s, kinds = read(target)
    assert kinds == [("video", "h264"), ("audio", "aac")]
    assert [f.shape for f in drawn] == [(240, 320, 3)] * 50
    np.testing.assert_allclose(np.array(times_s) - times_s[0], np.arange(50) / 25, atol=2e-3)
    for frame in (drawn[0], drawn[25], drawn[-1]):
        edge = frame[45:120, 60]
        assert np.abs(edge.mean(axis=0) - COLOURS["happy"]).max() < 90  # thin, and colour is coarse
        assert np.abs(frame[60:100, 90:110].mean() - 90) < 4  # inside nothing is drawn
        assert frame[-20:, :20].mean() < 60  # the bars' ground
    with av.open(str(source)) as a, av.open(str(target)) as b:
        lengths = [sum(f.samples for f in c.decode(c.streams.audio[0])) for c in (a, b)]
        assert abs(lengths[0] - lengths[1]) <= 2048
    assert os.listdir(tmp_path / "out") == ["b.mp4"]


def test_other_sound_is_coded_again(make, tmp_path):
    sound = np.stack([make.sine(1.0, 22_050), make.sine(1.0, 22_050, 880.0)])
    source = make.video(
        tmp_path / "a.mkv", make.grey_frames(30), sound=sound, rate_hz=22_050,
        audio_codec="pcm_s16le",
    )  # fmt: skip
    write_annotated(source, tmp_path / "b.mp4", make_notes())
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.layout.name) == ("aac", "stereo")
        left, right = np.concatenate([f.to_ndarray() for f in container.decode(stream)], axis=1)
    for channel, hz in ((left, 440), (right, 880)):
        spectrum = np.abs(np.fft.rfft(channel[4000:-4000]))
        assert np.fft.rfftfreq(len(channel) - 8000, 1 / 22_050)[spectrum.argmax()] == (
            pytest.approx(hz, abs=10)
        )


def test_odd_sizes_and_no_sound(make, tmp_path):
    frames = [np.full((49, 65, 3), 90, np.uint8)] * 5
    source = make.video(tmp_path / "a.mkv", frames, codec="ffv1")
    write_annotated(source, tmp_path / "b.mp4", make_notes())
    drawn, _, kinds = read(tmp_path / "b.mp4")
    assert drawn[0].shape == (50, 66, 3)
    assert kinds == [("video", "h264")]


def test_what_cannot_be_annotated(make, tmp_path):
    source = make.video(tmp_path / "a.mp4", make.grey_frames(5))
    before = source.read_bytes()
    with pytest.raises(UsageError):
        write_annotated(source, source, make_notes())
    with pytest.raises(ClipError):
        write_annotated(make.wav(tmp_path / "a.wav", make.sine()), tmp_path / "b.mp4", make_notes())
    with pytest.raises(EnvironmentFailure):
        write_annotated(source, source / "below.mp4", make_notes())
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.wav"]


def test_an_interrupt_leaves_the_old_file(tmp_path):
    (tmp_path / "a.png").write_text("old")

    def write():
        with replace_file(tmp_path / "a.png") as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
            temporary.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert (tmp_path / "a.png").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_plot_shows_each_share_where_it_is(tmp_path):
    probs = np.zeros((10, 7), np.float32)
    probs[:5, 3], probs[5:, 0], probs[5:, 5] = 1.0, 0.5, 0.5
    probs[8:] = np.nan
    segments = [
        Segment(0, 6, "happy", 1.0),
        Segment(6, 9, "angry", 0.5),
        Segment(9, 12, None, None),
    ]
    picture = draw_plot("a.mp4", probs, segments, 3.0, 1.0, 12.0)
    assert (picture.shape, picture.dtype) == ((plot.HEIGHT, plot.WIDTH, 3), np.uint8)
    width, middle = plot.WIDTH - plot.LEFT - plot.RIGHT, (plot.TOP + plot.HEIGHT - plot.BOTTOM) // 2

    def at(time_s, y):
        return tuple(picture[y, plot.LEFT + round(width * time_s / 12.0)].tolist())

    assert at(3.0, middle) == COLOURS["happy"]
    assert at(8.0, middle + 40) == COLOURS["angry"]
    assert at(8.0, middle - 40) == COLOURS["sad"]
    assert at(11.0, middle) not in COLOURS.values()
    band = plot.HEIGHT - plot.BOTTOM + plot.BAND_TOP + 5
    assert [at(t, band) for t in (1.0, 6.5)] == [COLOURS["happy"], COLOURS["angry"]]
    write_plot(tmp_path / "a.png", "a.mp4", probs, segments, 3.0, 1.0, 12.0)
    saved = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(saved, picture)


@pytest.mark.parametrize("n", [1, 2, 20_000])
def test_plot_of_any_length(n):
    probs = np.full((n, 7), 1 / 7, np.float32)
    segments = [Segment(0, n + 2.0, "neutral", 1 / 7)]
    assert draw_plot("ä", probs, segments, 3.0, 1.0, n + 2.0).shape[1] == plot.WIDTH
