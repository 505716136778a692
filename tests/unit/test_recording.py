"""Which frames are sampled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
