import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.metrics import (
    ABSTAINED,
    Metrics,
    bootstrap_intervals,
    calibration_error,
    format_percent,
    measure,
    score,
)


def scores_of(labels, predictions) -> dict[str, float]:
    return asdict(score(np.array(labels), np.array(predictions)))


def sure(predictions, top: float = 0.7) -> np.ndarray:
    """Probabilities whose largest is top, at the predictions; rows of NaN for abstentions."""
    probs = np.full((len(predictions), N_EMOTIONS), (1 - top) / (N_EMOTIONS - 1))
    probs[np.arange(len(predictions)), predictions] = top
    probs[np.array(predictions) == ABSTAINED] = np.nan
    return probs


def test_hand_computed():
    # recalls 1/2, 2/3, 0; F1 2/3, 4/7, 0; the abstention is wrong; four classes are absent
    scores = score(np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, ABSTAINED, 1]))
    assert scores.accuracy == pytest.approx(3 / 6)
    assert scores.uar == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 7) / 3)

    # class 5 never occurs: it costs precision elsewhere nothing, and is no class of the mean
    scores = scores_of([0, 0, 1, 1], [0, 5, 1, 1])
    assert scores == pytest.approx({"accuracy": 3 / 4, "uar": 3 / 4, "macro_f1": (2 / 3 + 1) / 2})
    majority = scores_of([4] * 90 + [0] * 10, [4] * 100)
    assert (majority["accuracy"], majority["uar"]) == (0.9, 0.5)


def test_all_right_all_wrong_all_silent():
    everything = list(range(N_EMOTIONS))
    for predictions, expected in ((everything, 1.0), ([*everything[1:], 0], 0.0), ([-1] * 7, 0.0)):
        assert set(scores_of(everything, predictions).values()) == {expected}


def test_interval_resamples_speakers():
    labels = np.tile(np.arange(N_EMOTIONS), 40)
    speakers = [str(s) for s in range(4) for _ in range(70)]
    by_speaker = np.where(np.arange(280) < 140, labels, (labels + 1) % 7)  # two right, two wrong
    by_clip = np.where(np.arange(280) % 2 == 0, labels, (labels + 1) % 7)
    wide = bootstrap_intervals(labels, by_speaker, speakers)
    narrow = bootstrap_intervals(labels, by_clip, speakers)
    assert (wide["accuracy"], narrow["accuracy"]) == ((0.0, 1.0), (0.5, 0.5))
    assert set(wide) == {"accuracy", "uar", "macro_f1"}


def test_the_95_percent_interval_is_one():
    """Five speakers of ten clips: all 5**5 resamples, counted out instead of drawn."""
    n_right = (0, 2, 5, 7, 10)
    labels = np.zeros(50, int)
    predictions = np.concatenate([np.arange(10) >= n for n in n_right]).astype(int)
    means = [sum(drawn) / 50 for drawn in itertools.product(n_right, repeat=5)]
    expected = np.percentile(means, [2.5, 97.5])  # 0.18 and 0.78; 90 % are 0.22 and 0.74
    found = bootstrap_intervals(labels, predictions, [str(i // 10) for i in range(50)])
    np.testing.assert_allclose(found["accuracy"], expected, atol=0.021)


def test_interval_is_repeatable():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, (2, 60))
    speakers = [str(s) for s in rng.integers(0, 9, 60)]
    first = bootstrap_intervals(labels, predictions, speakers)
    assert bootstrap_intervals(labels, predictions, speakers) == first
    order = rng.permutation(60)
    shuffled = (labels[order], predictions[order], [speakers[i] for i in order])
    assert bootstrap_intervals(*shuffled) == first


def test_calibration_by_hand():
    # bin 0.9..1: confidence 0.95, right half the time; bin 0.6..0.7: 0.65, always right
    probs = np.concatenate([sure([0, 0], 0.95), sure([1], 0.65)])
    error = calibration_error(np.array([0, 2, 1]), probs)
    assert error == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.35)
    labels = np.arange(N_EMOTIONS)
    assert calibration_error(labels, sure(labels, 1.0)) == 0
    assert calibration_error(labels, sure((labels + 1) % 7, 1.0)) == 1


@pytest.fixture
def metrics() -> Metrics:
    labels = np.array([0, 0, 1, 1, 4, 4])
    predictions = [0, 1, 1, 1, ABSTAINED, 4]
    speakers, genders = ["a", "a", "b", "b", "b", "c"], ["f", "f", "m", "m", "m", "f"]
    return measure(labels, sure(predictions).astype(np.float32), speakers, genders)


def test_abstentions_count_as_wrong(metrics):
    assert (metrics.n_clips, metrics.n_speakers, metrics.n_abstained) == (6, 3, 1)
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.majority_accuracy == pytest.approx(2 / 6)
    assert metrics.ece == pytest.approx(0.8 - 0.7)  # over the five predicted
    assert metrics.recall == {
        name: {"angry": 0.5, "disgust": 1.0, "neutral": 0.5}.get(name) for name in EMOTIONS
    }
    rows = {0: (1, 1, 0, 0, 0, 0, 0, 0), 1: (0, 2, 0, 0, 0, 0, 0, 0), 4: (0, 0, 0, 0, 1, 0, 0, 1)}
    assert metrics.confusion == tuple(rows.get(i, (0,) * 8) for i in range(7))


def test_groups(metrics):
    assert {k: (v.n_clips, v.accuracy) for k, v in metrics.by_speaker.items()} == {
        "a": (2, 0.5),
        "b": (3, pytest.approx(2 / 3)),
        "c": (1, 1.0),
    }
    assert {k: v.n_clips for k, v in metrics.by_gender.items()} == {"f": 3, "m": 3}


def test_dictionary_and_back(metrics):
    data = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert list(data) == [
        "n_clips", "n_speakers", "n_abstained", "accuracy", "uar", "macro_f1", "interval_95",
        "ece", "majority_accuracy", "recall", "confusion", "by_speaker", "by_gender",
    ]  # fmt: skip
    assert data["confusion"]["labels"] == [*EMOTIONS, "abstained"]
    assert data["by_speaker"]["a"] == {"n_clips": 2, "accuracy": 0.5, "uar": 0.5, "macro_f1": 2 / 3}
    assert Metrics.from_dict({**data, "parameters": 3}) == metrics
    brief = metrics.summarize()
    assert data.keys() - brief.to_dict().keys() == {"majority_accuracy", "confusion", "by_speaker"}
    assert Metrics.from_dict(brief.to_dict()) == brief
    with pytest.raises(ValueError, match="uar"):
        Metrics.from_dict({k: v for k, v in data.items() if k != "uar"})


def test_text(metrics):
    low, high = metrics.intervals["accuracy"]
    assert str(metrics) == f"66.7 ({100 * low:.1f} to {100 * high:.1f})"
    assert metrics.format("uar").startswith("66.7 (")
    assert format_percent(0.8181, (0.7694, 0.8616)) == "81.8 (76.9 to 86.2)"


@pytest.mark.parametrize("n", [0, 2])
def test_without_a_prediction(n):
    silent = measure(np.arange(n), sure([ABSTAINED] * n), ["a", "b"][:n])
    data = json.loads(json.dumps(silent.to_dict(), allow_nan=False))
    assert Metrics.from_dict(data) == silent
    assert (silent.accuracy, silent.ece, silent.n_abstained, silent.n_clips) == (0, None, n, n)
    assert "by_gender" not in data
    if not n:
        assert silent.intervals["uar"] == (0, 1)


def test_as_sklearn():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, predictions = np.random.default_rng(0).integers(0, 7, (2, 100))
    assert scores_of(labels, predictions) == pytest.approx({
        "accuracy": sklearn.accuracy_score(labels, predictions),
        "uar": sklearn.balanced_accuracy_score(labels, predictions),
        "macro_f1": sklearn.f1_score(labels, predictions, average="macro"),
    })  # fmt: skip
