"""Which numbers a range holds, and how it is told."""

import math

import pytest

from keras_emo.ranges import POSITIVE, Range


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "told"),
    [
        (Range(0, 1), [0, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(0, 1, below=True), [0, 0.999], [1, -1], "from 0 to below 1"),
        (Range(0, 1, above=True), [0.001, 1], [0, 1.001], "above 0 to 1"),
        (Range(3), [3, 1e300], [2, math.inf], "at least 3"),
        (Range(10**400), [10**400], [10**400 - 1, 1e300], f"at least {10**400}"),
        (POSITIVE, [1e-9], [0, -1, math.inf], "above 0"),
    ],
)
def test_ends(allowed, inside, outside, told):
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in [*outside, math.nan])
    assert str(allowed) == told
