"""The chart of a timeline."""

import cv2
import numpy as np
import pytest

from keras_emo.inference.results import Segment
from keras_emo.render import chart
from keras_emo.render.chart import COLORS, average_columns, draw_chart

from .timelines import make_timeline


def test_each_probability_and_segment_is_drawn_where_it_belongs(tmp_path):
    probs = np.zeros((10, 7), np.float32)
    probs[:5, 3], probs[5:, 0], probs[5:, 5] = 1.0, 0.5, 0.5
    probs[8:] = np.nan
    segments = (
        Segment(0, 6, "happy", 1.0),
        Segment(6, 9, "angry", 0.5),
        Segment(9, 12, None, None),
    )
    timeline = make_timeline(probs, segments=segments)
    picture = draw_chart(timeline)
    assert (picture.shape, picture.dtype) == ((chart.HEIGHT, chart.WIDTH, 3), np.uint8)
    width = chart.WIDTH - chart.LEFT - chart.RIGHT
    middle = (chart.TOP + chart.HEIGHT - chart.BOTTOM) // 2

    def at(time_s, y):
        return tuple(picture[y, chart.LEFT + round(width * time_s / 12.0)].tolist())

    assert at(3.0, middle) == COLORS["happy"]
    assert at(8.0, middle + 40) == COLORS["angry"]
    assert at(8.0, middle - 40) == COLORS["sad"]
    assert at(11.0, middle) not in COLORS.values()
    band = chart.HEIGHT - chart.BOTTOM + chart.BAND_TOP + 5
    assert [at(t, band) for t in (1.0, 6.5)] == [COLORS["happy"], COLORS["angry"]]
    timeline.plot(tmp_path / "a.png")
    saved = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(saved, picture)


@pytest.mark.parametrize("n", [1, 20_000])
def test_any_length_and_name(n):
    timeline = make_timeline(np.full((n, 7), 1 / 7, np.float32), path="ä/ß.mp4")
    assert draw_chart(timeline).shape[1] == chart.WIDTH


def test_columns_average_the_windows_that_do_not_abstain():
    probs = np.eye(7, dtype=np.float32)[[0, 1, 2, 3]]
    probs[2:] = np.nan
    columns = average_columns(probs, np.arange(5.0), 2)
    assert columns[0, :2].tolist() == [0.5, 0.5]
    assert np.isnan(columns[1]).all()
    assert average_columns(probs, np.arange(5.0), 8)[1].argmax() == 0
