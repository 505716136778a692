"""What the training streams yield."""

import os

import numpy as np
import pytest

from keras_emo.data.clips import ABSENT, Clips, StoredRows
from keras_emo.data.pipeline import Schedule, Share, class_weights, stream_faces, stream_voices
from keras_emo.errors import UsageError
from keras_emo.spec import AudioSpec

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

N = 42
LABELS = (np.arange(N) % 7).astype(np.int32)
COUNT = np.where(np.arange(N) % 5 == 0, 0, 3)  # crops; some clips have no face
HAS_VOICE = np.arange(N) % 4 != 1
SPEC = AudioSpec()


@pytest.fixture
def clips(tmp_path) -> Clips:
    """Every value of a clip is its number, so that a row says whose it is."""
    paths = [tmp_path / str(i) for i in range(N)]
    for i, path in enumerate(paths):
        face = np.full((COUNT[i], 4, 4, 3), i, np.uint8)
        path.write_bytes(face.tobytes() + np.full((2, 3), i, np.float32).tobytes())
    voice_at = np.where(HAS_VOICE, 48 * COUNT, ABSENT)
    return Clips(
        samples=[None] * N,
        faces=StoredRows(paths, [0] * N, COUNT, (4, 4, 3), np.uint8),
        mfcc=StoredRows(paths, voice_at, [1] * N, (2, 3), np.float32),
        labels=LABELS,
    )


def read_epoch(stream) -> list[tuple[int, int, float]]:
    """(number of the clip, label, weight) of every row of an epoch."""
    data, steps = stream
    rows = []
    for x, y, w, total in data.take(steps):
        (array,) = x.values()
        numbers = array.numpy().reshape(len(array), -1)
        assert (numbers == numbers[:, :1]).all()
        assert total == len(numbers)
        rows += zip(
            numbers[:, 0].astype(int).tolist(),
            y["logits"].numpy().argmax(axis=1).tolist(),
            w["logits"].numpy().tolist(),
            strict=True,
        )
    return rows


def test_faces_have_the_labels_of_their_clips(clips):
    rows = read_epoch(stream_faces(clips, Schedule(3, 0), 1, None))
    weights = class_weights(LABELS[COUNT > 0])
    assert len({i for i, _, _ in rows}) == len(rows) == (COUNT > 0).sum() // 3 * 3
    for number, label, weight in rows:
        assert COUNT[number] > 0
        assert label == number % 7
        assert weight == weights[label]
    every = read_epoch(stream_faces(clips, Schedule(1, 0), 0, None))
    assert sorted(i for i, _, _ in every) == np.repeat(np.arange(N), COUNT).tolist()
    assert all(label == number % 7 for number, label, _ in every)


def test_voices_have_the_labels_of_their_clips(clips):
    rows = read_epoch(stream_voices(clips, Schedule(1, 0), None, SPEC))
    assert sorted(i for i, _, _ in rows) == np.flatnonzero(HAS_VOICE).tolist()
    weights = class_weights(LABELS[HAS_VOICE])
    assert all((label, weight) == (i % 7, weights[label]) for i, label, weight in rows)


def test_epochs_are_shuffled_and_repeatable(clips):
    def order(seed: int, first_epoch: int) -> list[int]:
        schedule = Schedule(1, seed, first_epoch)
        return [i for i, _, _ in read_epoch(stream_voices(clips, schedule, None, SPEC))]

    first = order(0, 0)
    assert first == order(0, 0)
    assert first != sorted(first)
    assert len({tuple(o) for o in (first, order(0, 1), order(1, 0))}) == 3


def test_replicas_share_a_batch(clips):
    """Three replicas on two processes see the rows of one process, each its own."""
    whole = read_epoch(stream_voices(clips, Schedule(6, 0), None, SPEC))
    numbers = []
    for share in (Share(0, 1, 3), Share(1, 2, 3)):
        data, steps = stream_voices(clips, Schedule(6, 0, share=share), None, SPEC)
        own = []
        for x, y, *_ in data.take(steps * share.count):
            own.append(x["mfcc"].numpy()[:, 0, 0].astype(int))
            np.testing.assert_array_equal(y["logits"].numpy().argmax(axis=1), own[-1] % 7)
        numbers.append(np.concatenate(own).reshape(steps, -1))
    together = np.concatenate(numbers, axis=1).reshape(-1)
    assert together.tolist() == [i for i, _, _ in whole]
    with pytest.raises(UsageError, match="cannot be shared among 3 replicas"):
        stream_voices(clips, Schedule(2, 0, share=Share(0, 1, 3)), None, SPEC)


def test_a_read_that_fails_can_be_named(clips):
    """tf.data hides the error; the clips keep it."""
    os.truncate(clips.mfcc.paths[3], 10)
    with pytest.raises(Exception, match="cut short"):
        read_epoch(stream_voices(clips, Schedule(1, 0), None, SPEC))
    assert clips.failure.path == str(clips.mfcc.paths[3])


def test_class_weights():
    """Every class counts the same in total; the mean over clips is 1."""
    weights = class_weights(np.array([0, 0, 0, 1, 2, 2]))
    np.testing.assert_allclose(weights[:3], [2 / 3, 2, 1])
