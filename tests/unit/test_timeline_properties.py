"""Segments of any windows: all of the recording, each moment once."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_emo.inference.segments import find_segments
from keras_emo.labels import EMOTIONS


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


@given(recordings(), st.floats(0.1, 10), st.floats(0, 0.5), st.floats(0.1, 10))
def test_segments_cover_everything_once(recording, smooth_s, margin, min_segment_s):
    probs, window_s, hop_s, duration_s = recording
    segments = find_segments(probs, window_s, hop_s, duration_s, smooth_s, margin, min_segment_s)
    assert (segments[0].start_s, segments[-1].end_s) == (0, duration_s)
    for before, after in pairwise(segments):
        assert before.end_s == after.start_s
        assert before.label != after.label
    for segment in segments:
        assert segment.end_s > segment.start_s
        assert segment.label is None or segment.label in EMOTIONS
        assert (segment.label is None) == (segment.prob is None)
        assert segment.prob is None or 0 <= segment.prob <= 1
    abstained_s = sum(s.end_s - s.start_s for s in segments if s.label is None)
    assert (abstained_s > 0) == bool(np.isnan(probs).any())
