import json

import numpy as np
import pytest

from keras_emo.labels import EMOTIONS, N_EMOTIONS
from keras_emo.metrics import (
    ABSTAINED,
    calibration_error,
    confusion,
    interval,
    report,
    score,
)


def score_of(labels, answers) -> dict[str, float]:
    return score(confusion(np.array(labels), np.array(answers)))


def sure(answers, top: float = 0.7) -> np.ndarray:
    """Probabilities whose largest is top, at the answers; rows of NaN for abstentions."""
    probs = np.full((len(answers), N_EMOTIONS), (1 - top) / (N_EMOTIONS - 1))
    probs[np.arange(len(answers)), answers] = top
    probs[np.array(answers) == ABSTAINED] = np.nan
    return probs


def test_counts():
    counts = confusion(np.array([0, 0, 6, 3]), np.array([0, 1, ABSTAINED, 3]))
    expected = np.zeros((7, 8), int)
    expected[0, 0] = expected[0, 1] = expected[6, 7] = expected[3, 3] = 1
    np.testing.assert_array_equal(counts, expected)


def test_hand_computed():
    # recalls 1/2, 2/3, 0; F1 2/3, 4/7, 0; the abstention is wrong; four classes are absent
    figures = score_of([0, 0, 1, 1, 1, 3], [0, 1, 1, 1, ABSTAINED, 1])
    assert figures["accuracy"] == pytest.approx(3 / 6)
    assert figures["uar"] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 4 / 7) / 3)


def test_answers_outside_the_classes_present():
    # class 5 never occurs: it costs precision elsewhere nothing, and is no class of the mean
    figures = score_of([0, 0, 1, 1], [0, 5, 1, 1])
    assert figures == pytest.approx({"accuracy": 3 / 4, "uar": 3 / 4, "macro_f1": (2 / 3 + 1) / 2})


def test_all_right_all_wrong_all_silent():
    everything = list(range(N_EMOTIONS))
    assert set(score_of(everything, everything).values()) == {1.0}
    assert set(score_of(everything, [*everything[1:], 0]).values()) == {0.0}
    assert set(score_of(everything, [ABSTAINED] * 7).values()) == {0.0}


def test_uar_does_not_follow_the_majority():
    figures = score_of([4] * 90 + [0] * 10, [4] * 100)
    assert (figures["accuracy"], figures["uar"]) == (0.9, 0.5)


def test_interval_resamples_speakers():
    labels = np.tile(np.arange(N_EMOTIONS), 40)
    speakers = [str(s) for s in range(4) for _ in range(70)]
    by_speaker = np.where(np.arange(280) < 140, labels, (labels + 1) % 7)  # two right, two wrong
    by_clip = np.where(np.arange(280) % 2 == 0, labels, (labels + 1) % 7)
    wide = interval(labels, by_speaker, speakers)
    narrow = interval(labels, by_clip, speakers)
    assert score_of(labels, by_speaker)["accuracy"] == score_of(labels, by_clip)["accuracy"] == 0.5
    assert wide["accuracy"] == [0.0, 1.0]
    assert narrow["accuracy"] == [0.5, 0.5]
    assert set(wide) == {"accuracy", "uar", "macro_f1"}


def test_interval_is_repeatable():
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 7, (2, 60))
    speakers = [str(s) for s in rng.integers(0, 9, 60)]
    first = interval(labels, answers, speakers, n_draws=200)
    assert interval(labels, answers, speakers, n_draws=200) == first
    order = rng.permutation(60)
    shuffled = interval(labels[order], answers[order], [speakers[i] for i in order], n_draws=200)
    assert shuffled == first
    assert interval(labels, answers, speakers, n_draws=200, seed=1) != first
    low, high = first["accuracy"]
    assert low <= score_of(labels, answers)["accuracy"] <= high


def test_calibration_by_hand():
    # bin 0.9..1: says 0.95, right half the time; bin 0.6..0.7: says 0.65, always right
    probs = np.concatenate([sure([0, 0], 0.95), sure([1], 0.65)])
    error = calibration_error(np.array([0, 2, 1]), probs)
    assert error == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.35)


def test_calibration_extremes():
    labels = np.arange(N_EMOTIONS)
    assert calibration_error(labels, sure(labels, 1.0)) == 0
    assert calibration_error(labels, sure((labels + 1) % 7, 1.0)) == 1


@pytest.fixture
def answered():
    labels = np.array([0, 0, 1, 1, 4, 4])
    answers = [0, 1, 1, 1, ABSTAINED, 4]
    speakers, genders = ["a", "a", "b", "b", "b", "c"], ["f", "f", "m", "m", "m", "f"]
    return report(labels, sure(answers).astype(np.float32), speakers, genders)


def test_report_counts_abstentions_as_wrong(answered):
    assert (answered["n_clips"], answered["n_speakers"], answered["n_abstained"]) == (6, 3, 1)
    assert answered["accuracy"] == pytest.approx(4 / 6)
    assert answered["majority_accuracy"] == pytest.approx(2 / 6)
    assert answered["ece"] == pytest.approx(0.8 - 0.7)  # over the five answered
    assert answered["recall"] == {
        name: {"angry": 0.5, "disgust": 1.0, "neutral": 0.5}.get(name) for name in EMOTIONS
    }
    assert answered["confusion"]["labels"][-1] == "abstained"
    assert answered["confusion"]["counts"][4] == [0, 0, 0, 0, 1, 0, 0, 1]


def test_report_by_group(answered):
    assert {k: (v["n_clips"], v["accuracy"]) for k, v in answered["by_speaker"].items()} == {
        "a": (2, 0.5),
        "b": (3, pytest.approx(2 / 3)),
        "c": (1, 1.0),
    }
    assert {k: v["n_clips"] for k, v in answered["by_gender"].items()} == {"f": 3, "m": 3}


def test_report_is_plain_json(answered):
    assert json.loads(json.dumps(answered, allow_nan=False)) == answered
    silent = report(np.array([0, 1]), sure([ABSTAINED] * 2), ["a", "b"])
    assert json.loads(json.dumps(silent, allow_nan=False)) == silent
    assert (silent["accuracy"], silent["ece"], silent["n_abstained"]) == (0, None, 2)
    assert "by_gender" not in silent


def test_report_without_any_clip():
    figures = report(np.array([]), np.zeros((0, N_EMOTIONS)), [], [])
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert (figures["n_clips"], figures["accuracy"], figures["ece"]) == (0, 0, None)
    assert figures["interval_95"]["uar"] == [0, 1]


def test_as_sklearn():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, answers = np.random.default_rng(0).integers(0, 7, (2, 100))
    assert score_of(labels, answers) == pytest.approx({
        "accuracy": sklearn.accuracy_score(labels, answers),
        "uar": sklearn.balanced_accuracy_score(labels, answers),
        "macro_f1": sklearn.f1_score(labels, answers, average="macro"),
    })  # fmt: skip
