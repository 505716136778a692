from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.media import decode as decoding
from keras_emo.media.reader import read_media
from keras_emo.media.recording import SampleGrid


def keep(grid: SampleGrid, times_s: list[float]) -> list[float]:
    kept = []
    for time_s in times_s:
        if grid.is_due(time_s):
            kept.append(time_s)
            grid.keep(time_s)
    return kept


def test_the_first_at_or_after_each_time_is_kept():
    grid = SampleGrid(3.0, 0.04)
    kept = keep(grid, [0.04 * i for i in range(26)])
    np.testing.assert_allclose(kept, [0, 0.32, 0.68, 1.0])
    assert [grid.is_past(t) for t in (1.0, 1.32)] == [True, False]
    assert keep(SampleGrid(3.0, 0.04), [0, 0.9, 0.94, 1.0]) == [0, 0.9, 1.0]  # a gap is no debt


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=60, unique=True),
    st.sampled_from([3.0, 7.0, 29.97]),
    st.sampled_from([1 / 30, 0.04, 1 / 60]),
)
def test_what_is_past_is_never_due(times_s, rate_hz, step_s):
    grid, past = SampleGrid(rate_hz, step_s), set()
    for time_s in sorted(times_s):
        if grid.is_due(time_s):
            assert time_s not in past
            grid.keep(time_s)
        past |= {t for t in times_s if grid.is_past(t)}


@pytest.fixture
def decoded(monkeypatch) -> list[float]:
    """The times of the pictures that come out of the decoder."""
    times_s: list[float] = []
    read_picture = decoding.Decoding._read_picture

    def watch(self, picture, on_frame) -> None:
        times_s.append(picture.time)
        read_picture(self, picture, on_frame)

    monkeypatch.setattr(decoding.Decoding, "_read_picture", watch)
    return times_s


def moving_frames(n: int) -> list[np.ndarray]:
    """Noise that moves to the left."""
    scene = np.random.default_rng(0).integers(0, 256, (96, 128 + n, 3), dtype=np.uint8)
    return [np.ascontiguousarray(scene[:, i : i + 128]) for i in range(n)]


KINDS = {
    "plain.mp4": {},
    "many.mp4": {"x264-params": "bframes=8:b-pyramid=strict:b-adapt=0"},
    "flat.mkv": {"x264-params": "bframes=5:b-pyramid=none:b-adapt=0"},
    "open.mp4": {"x264-params": "open-gop=1:keyint=12:min-keyint=6:bframes=3"},
    "lines.mp4": {"x264-params": "interlaced=1:bframes=3"},
    "ntsc.mp4": {"fps": Fraction(30000, 1001)},
}


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_spared_pictures_change_nothing(kind, threads, make, decoded, monkeypatch, tmp_path):
    path = make.video(tmp_path / kind, moving_frames(91), sound=make.sine(3.0), **KINDS[kind])
    fast = read_media(path, threads=threads)
    n_fast = len(decoded)
    decoded.clear()
    monkeypatch.setattr(decoding, "_may_spare", lambda video: False)
    slow = read_media(path, threads=threads)
    assert len(decoded) == 91
    assert n_fast < (70 if threads == 1 else 91)
    for kept, expected in zip(fast.frames, slow.frames, strict=True):
        np.testing.assert_array_equal(kept.rgb, expected.rgb)
        assert kept.time_s == expected.time_s
    np.testing.assert_array_equal(fast.waveform, slow.waveform)
    assert fast.duration_s == slow.duration_s
    assert (fast.missing_s, fast.damaged_packets) == (0, 0)


@pytest.mark.parametrize(("name", "options"), [("a.avi", {}), ("a.mp4", {"codec": "mpeg4"})])
def test_where_it_is_not_sure_all_is_decoded(name, options, make, decoded, tmp_path):
    path = make.video(tmp_path / name, make.grey_frames(61), bf="2", **options)
    shown = [make.read_grey(f.rgb) for f in read_media(path).frames]
    np.testing.assert_allclose(shown, np.arange(0, 61, 10), atol=1)  # MPEG-4 is coarse
    assert len(decoded) == 61


def test_every_picture_asked_for_is_decoded(make, decoded, tmp_path):
    path = make.video(tmp_path / "a.mp4", make.grey_frames(61), bf="3")
    assert len(read_media(path, frame_rate_hz=30.0).frames) == len(decoded) == 61


def test_after_damage_all_is_decoded(make, decoded, tmp_path):
    params = {"x264-params": "bframes=3:b-adapt=0"}
    path = make.video(tmp_path / "a.mp4", moving_frames(60), **params)
    data = bytearray(path.read_bytes())
    read_media(path)
    n_whole = len(decoded)
    decoded.clear()
    data[len(data) // 4 : len(data) // 4 + 3000] = bytes(3000)
    path.write_bytes(data)
    assert read_media(path).damaged_packets > 0
    late = [t for t in decoded if t > 0.99]
    assert len(late) == 30
    assert n_whole < 50
