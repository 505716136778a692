"""A face detector of your own: the face is in the middle of the picture, as in a photo booth."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

import keras_emo
from keras_emo.features.face import DetectedFace


class SeatedDetector:
    """Finds one face in the middle, as wide as ``share`` of the picture's shorter side."""

    def __init__(self, share: float = 0.5):
        self.share = share

    def detect(self, rgb: np.ndarray) -> Sequence[DetectedFace]:
        """The face in ``rgb``, uint8 (height, width, 3)."""
        height, width = rgb.shape[:2]
        side = self.share * min(height, width)
        return [DetectedFace(((width - side) / 2, (height - side) / 2, side, side))]


if __name__ == "__main__":
    model = keras_emo.load(sys.argv[1], detector=SeatedDetector())
    prediction = model.predict(sys.argv[2])
    print(prediction.label, prediction.modalities)
