"""Pooling of a clip's frames: which frame counts in which segment, and what one frame gives."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_emo.networks.clip import ClipStatistics

pytestmark = pytest.mark.tensorflow


def build(n_features: int, segments: int = 3) -> ClipStatistics:
    layer = ClipStatistics(segments, enough_frames=2)
    layer.build((None, n_features), (None, None))
    return layer


def pool(layer: ClipStatistics, clips: list[np.ndarray]) -> np.ndarray:
    """Clips (n_frames, n) as one padded batch; what pads them is not zero."""
    longest = max(map(len, clips))
    values = np.full((len(clips), longest, clips[0].shape[1]), 1e3, np.float32)
    counts = np.zeros((len(clips), longest), np.float32)
    for i, clip in enumerate(clips):
        values[i, : len(clip)], counts[i, : len(clip)] = clip, 1.0
    return np.array(layer.pool(values.reshape(-1, values.shape[-1]), counts))


def test_a_frame_on_a_border_counts_in_both_parts_by_its_share():
    said = pool(build(1, segments=2), [np.array([[1.0], [2.0], [6.0]])])
    first, second = (1 + 2 / 2) / 1.5, (2 / 2 + 6) / 1.5
    np.testing.assert_allclose(said[0, :2], [first, second], rtol=1e-6)
    assert said[0, 2] == pytest.approx(np.std([1, 2, 6], ddof=1), rel=1e-4)


@pytest.mark.parametrize("segments", [1, 3, 4])
def test_parts_are_of_one_length_whatever_the_clip(segments):
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(n, 5)).astype(np.float32) for n in (2, 3, 7, 16)]
    said = pool(build(5, segments), clips)
    for clip, row in zip(clips, said, strict=True):
        fine = np.repeat(clip, segments, axis=0)  # as many of these in every part
        means = fine.reshape(segments, len(clip), 5).mean(axis=1)
        np.testing.assert_allclose(row[: segments * 5], means.ravel(), atol=1e-5)
        np.testing.assert_allclose(row[segments * 5 :], clip.std(axis=0, ddof=1), atol=1e-3)


def test_a_gap_is_as_if_its_frames_were_not_there():
    layer, rng = build(4), np.random.default_rng(1)
    values = rng.normal(size=(6, 4)).astype(np.float32)
    counts = np.array([[0, 1, 0, 1, 1, 0]], np.float32)
    whole = np.array(layer(values[[1, 3, 4]], np.ones((1, 3), np.float32)))
    np.testing.assert_allclose(np.array(layer(values, counts)), whole, atol=1e-6)


def test_one_frame_has_no_deviation():
    layer, rng = build(4), np.random.default_rng(2)
    layer.adapt(rng.normal(1.0, 2.0, (50, 16)))
    one, two = (
        np.array(layer(np.repeat(rng.normal(size=(1, 4)), n, axis=0), np.ones((1, n))))[0]
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one[12:], 0.0)
    assert (two[12:] != 0).all()
    assert np.isfinite(np.array(layer(np.zeros((2, 4)), np.zeros((1, 2))))).all()


def test_training_clips_have_mean_zero_and_deviation_one():
    layer, rng = build(3), np.random.default_rng(3)
    clips = [rng.normal(5, 2, (n, 3)).astype(np.float32) for n in rng.integers(2, 12, 40)]
    pooled = pool(layer, clips)
    layer.adapt(pooled)
    counts = np.array([[len(clip)] for clip in clips], np.float32)  # as many as the layer asks
    standard = np.array(layer.standardize(pooled, counts))
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-3)


def test_few_frames_say_less():
    layer, rng = ClipStatistics(1, enough_frames=8), np.random.default_rng(4)
    layer.build((None, 2), (None, None))
    pooled = rng.normal(size=(1, 4)).astype(np.float32)
    said = {n: np.array(layer.standardize(pooled, np.ones((1, n)))) for n in (2, 8, 20)}
    np.testing.assert_allclose(said[8], pooled, atol=1e-5)
    np.testing.assert_array_equal(said[20], said[8])
    np.testing.assert_allclose(said[2], pooled / 2, atol=1e-5)


def test_no_part_and_no_frame_are_refused():
    for wrong in ({"segments": 0}, {"enough_frames": 0}):
        with pytest.raises(ValueError, match="both are 1 or more"):
            ClipStatistics(**wrong)
