"""What a fusion head is trained on: hidden modalities, and streams of stored features."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_emo.data.pipeline import Share
from keras_emo.errors import UsageError
from keras_emo.training.features import hide_modalities, stream_features

pytestmark = pytest.mark.tensorflow


def test_modality_dropout_hides_one_modality_a_clip():
    n = 4000
    has_face, has_voice = np.ones((n, 1), np.float32), np.ones((n, 1), np.float32)
    has_face[:500], has_voice[500:1000] = 0.0, 0.0  # clips that have one modality only
    seen = {"has_face": has_face.copy(), "has_voice": has_voice.copy()}
    hide_modalities(seen, 0.15, (0, 1))
    for name, before in (("has_face", has_face), ("has_voice", has_voice)):
        np.testing.assert_array_equal(seen[name][:1000], before[:1000])
        assert 1 - seen[name][1000:].mean() == pytest.approx(0.15, abs=0.03)  # over 4 deviations
    assert (seen["has_face"] + seen["has_voice"] >= 1).all()
    again = {"has_face": has_face.copy(), "has_voice": has_voice.copy()}
    hide_modalities(again, 0.15, (0, 2))
    assert (again["has_face"] != seen["has_face"]).any()


def read_rows(stream, n: int) -> list[np.ndarray]:
    return [x["x"][:, 0].astype(int) for x, *_ in stream[0].take(n).as_numpy_iterator()]


def test_every_epoch_is_shuffled_anew_and_resumes_in_the_same_order():
    known, truth = {"x": np.arange(40, dtype=np.float32)[:, None]}, np.arange(40) % 7
    rows = read_rows(stream_features(known, truth, 10, 5, 0, True), 8)
    first, second = np.concatenate(rows[:4]), np.concatenate(rows[4:])
    assert sorted(first) == sorted(second) == list(range(40))
    assert (first != np.arange(40)).any()
    assert (first != second).any()
    resumed = np.concatenate(read_rows(stream_features(known, truth, 10, 5, 1, True), 4))
    np.testing.assert_array_equal(resumed, second)
    other = np.concatenate(read_rows(stream_features(known, truth, 10, 6, 0, True), 4))
    assert (first != other).any()


def test_shares_are_the_whole_batch_in_order():
    known, truth = {"x": np.arange(26, dtype=np.float32)[:, None]}, np.arange(26) % 7
    whole = read_rows(stream_features(known, truth, 10, 5, 1, True), 2)
    one = read_rows(stream_features(known, truth, 10, 5, 1, True, Share(0, 1, 3)), 2)
    two = read_rows(stream_features(known, truth, 10, 5, 1, True, Share(1, 2, 3)), 4)
    for i, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([one[i], *two[2 * i : 2 * i + 2]]), batch)
    with pytest.raises(UsageError, match="2 examples cannot"):
        stream_features(known, truth, 2, 0, 0, True, Share(0, 1, 4))
