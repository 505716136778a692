import numpy as np
import pytest

from keras_emo.media.sound import SoundBuffer, resample


@pytest.mark.parametrize("from_hz", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_resampled_like_the_whole(from_hz, seed):
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 0.2, 2 * from_hz + 17).astype(np.float32)
    buffer, start = SoundBuffer(48_000), 0
    while start < len(sound):
        n = int(rng.integers(1, 5000))
        buffer.push(sound[start : start + n], from_hz)
        start += n
    buffer.flush()
    joined, whole = buffer.slice(0, 10), resample(sound, from_hz, 48_000)
    assert (len(joined), joined.dtype) == (len(whole), np.float32)
    np.testing.assert_allclose(joined, whole, atol=1e-4)


def test_a_rate_that_changes_on_the_way(make):
    buffer = SoundBuffer(48_000)
    for hz in (16_000, 44_100, 48_000, 16_000):
        buffer.push(make.sine(1.0, hz), hz)
    buffer.flush()
    assert len(buffer.slice(0, 10)) == 4 * 48_000


def test_buffer_holds_what_is_not_forgotten():
    buffer = SoundBuffer(1000)
    for i in range(10):
        buffer.push(np.full(500, i, np.float32), 1000)
        buffer.forget(i / 2 - 1)
    assert buffer.end_s == pytest.approx(5, abs=1e-3)
    assert sum(map(len, buffer._blocks)) <= 2000
    assert np.unique(buffer.slice(4.0, 5.0)).tolist() == [8, 9]
    assert len(buffer.slice(4.5, 9.0)) == 500
    assert len(buffer.slice(7.0, 9.0)) == 0
    buffer.forget(100.0)
    assert len(buffer.slice(4.0, 5.0)) == 0


def test_gaps_are_found():
    buffer = SoundBuffer(1000)
    buffer.push(np.ones(1000, np.float32), 1000)
    assert (buffer.find_gap(1.2), buffer.find_gap(0.5)) == (0, 0)
    assert buffer.find_gap(1.5) == 0.5
    assert buffer.find_gap(3600.0) == 1.0
