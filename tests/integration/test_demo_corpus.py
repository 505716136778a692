"""The mtcnn package finds the drawn faces."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("mtcnn")

from keras_emo.demo_corpus import BuiltinSpec, list_clips
from keras_emo.demo_corpus.corpus import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


def test_mtcnn_finds_nearly_every_face():
    from mtcnn import MTCNN

    every = list_clips(BuiltinSpec())
    clips = [every[(6 * i + i // 5) % 240] for i in range(40)]  # 5 a speaker
    assert len({c.split("-")[2] for c in clips}) == 8
    detector, found = MTCNN(device="CPU:0"), []
    for i, clip in enumerate(clips):
        frames, _ = render_clip(clip, BuiltinSpec())
        frame = [next(frames) for _ in range(12 + 3 * (i % 8))][-1]
        faces = [f for f in detector.detect_faces(frame) if f["confidence"] >= 0.9]
        found.append(len(faces))
    assert np.mean(np.array(found) >= 1) >= 0.95
    assert np.mean(np.array(found) <= 1) >= 0.95, "something else is taken for a face"
