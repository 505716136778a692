"""Window probabilities to segments."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_emo.inference.results import Segment, name_probs
from keras_emo.inference.segments import choose_labels, find_segments, smooth, stack_probs
from keras_emo.labels import EMOTIONS


def make_probs(*labels: int, sure: float = 0.7) -> np.ndarray:
    """A row a label, -1 for one that abstains."""
    probs = np.full((len(labels), 7), (1 - sure) / 6, np.float32)
    for i, label in enumerate(labels):
        probs[i, label] = sure
        if label < 0:
            probs[i] = np.nan
    return probs


def spans(segments: list[Segment]) -> list[tuple]:
    return [(s.start_s, s.end_s, s.label) for s in segments]


def test_two_halves():
    segments = find_segments(make_probs(*[3] * 10, *[0] * 10), 3.0, 1.0, 22.0)
    assert spans(segments) == [(0, 11, "happy"), (11, 22, "angry")]
    assert [s.confidence for s in segments] == pytest.approx([0.7, 0.7])


def test_one_odd_window_splits_nothing():
    for odd in (0, 1, 9, 18, 19):
        labels = [0 if i == odd else 3 for i in range(20)]
        assert spans(find_segments(make_probs(*labels), 3.0, 1.0, 22.0)) == [(0, 22, "happy")]
    flickering = make_probs(*[3, 0] * 30, sure=0.4)
    assert len(find_segments(flickering, 3.0, 1.0, 62.0)) == 1


def test_a_slow_change_is_one_change():
    share = np.linspace(0, 1, 40)[:, None]
    probs = (1 - share) * make_probs(3) + share * make_probs(5)
    segments = find_segments(probs, 3.0, 1.0, 42.0)
    assert [s.label for s in segments] == ["happy", "sad"]
    assert 19 < segments[0].end_s < 26


def test_windows_that_abstain_are_segments():
    segments = find_segments(make_probs(3, 3, 3, -1, -1, 3, 0, 0, 0, 0), 3.0, 1.0, 12.0)
    assert spans(segments) == [(0, 4, "happy"), (4, 6, None), (6, 12, "angry")]
    assert segments[1].confidence is None
    assert segments[1].to_dict() == {
        "start_s": 4, "end_s": 6, "label": None, "confidence": None,
    }  # fmt: skip
    assert spans(find_segments(make_probs(-1, -1), 3.0, 1.0, 4.0)) == [(0, 4, None)]


@st.composite
def recordings(draw):
    """(probs, window_s, hop_s, duration_s), as the windows of a recording come."""
    n = draw(st.integers(1, 40))
    hop_s = draw(st.floats(0.05, 5))
    window_s = hop_s * draw(st.floats(1, 6))
    weights = draw(hnp.arrays(np.float32, (n, 7), elements=st.floats(0.0625, 1, width=32)))
    probs = weights / weights.sum(axis=1, keepdims=True)
    probs[draw(hnp.arrays(bool, n))] = np.nan
    lack_s = draw(st.floats(0, 0.49)) * hop_s  # the last window reaches beyond the end
    return probs, window_s, hop_s, (n - 1) * hop_s + window_s - lack_s


@given(recordings())
def test_segments_cover_everything_once(recording):
    probs, window_s, hop_s, duration_s = recording
    segments = find_segments(probs, window_s, hop_s, duration_s)
    assert (segments[0].start_s, segments[-1].end_s) == (0, duration_s)
    for before, after in pairwise(segments):
        assert before.end_s == after.start_s
        assert before.label != after.label
    for segment in segments:
        assert segment.end_s > segment.start_s
        assert segment.label is None or segment.label in EMOTIONS
        assert (segment.label is None) == (segment.confidence is None)
        assert segment.confidence is None or 0 <= segment.confidence <= 1
    abstained_s = sum(s.end_s - s.start_s for s in segments if s.label is None)
    assert (abstained_s > 0) == bool(np.isnan(probs).any())


def test_runs_are_long_or_cut_off():
    rng = np.random.default_rng(1)
    labels = choose_labels(rng.dirichlet(np.full(7, 0.3), 500), 4)
    ends = np.flatnonzero(np.diff(labels)) + 1
    assert len(ends) > 5
    assert np.diff([0, *ends, 500]).min() >= 4


def test_smoothing_keeps_to_the_stretch():
    probs = make_probs(0, 0, -1, 3, 3, 0, 3)
    smoothed = smooth(probs, 3)
    assert np.isnan(smoothed[2]).all()
    np.testing.assert_allclose(smoothed[:2], probs[:2], atol=1e-6)
    np.testing.assert_allclose(smoothed[5], probs[4:7].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.delete(smoothed, 2, 0).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(smooth(probs, 1), probs.astype(np.float64))


def test_stacked_windows():
    stacked = stack_probs([None, name_probs([1 / 7] * 7)])
    assert (stacked.shape, stacked.dtype) == ((2, 7), np.float32)
    assert np.isnan(stacked[0]).all()
    assert stack_probs([]).shape == (0, len(EMOTIONS))
    assert find_segments(stack_probs([]), 3.0, 1.0, 0.0) == []
