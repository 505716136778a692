"""The pipeline others put together: mtcnn, librosa and Keras. A peer for the benchmarks.

As a script, ``python benchmarks/naive.py MODEL.keras CLIP`` prints one label: what a first
prediction costs there. MODEL: a network of this project from ``export.py --formats keras``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PACKAGES = ("tensorflow", "keras", "librosa", "mtcnn", "av", "cv2")
LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


class NaivePipeline:
    """Loads everything once; ``predict`` decodes, detects, computes MFCC and calls Keras."""

    def __init__(self, model: Path):
        import keras
        from mtcnn import MTCNN

        import keras_emo.networks.layers  # noqa: F401  # the layers the file names

        self.model = keras.models.load_model(model, compile=False)
        self.inputs = list(self.model.input)
        self.detector = MTCNN(device="CPU:0") if "face" in self.inputs else None

    def predict(self, clip: Path) -> str:
        feed: dict[str, Any] = {}
        if "face" in self.inputs:
            feed |= self._read_faces(clip)
        if "mfcc" in self.inputs:
            feed |= self._read_voice(clip)
        outputs = self.model.predict({k: feed[k] for k in self.inputs}, verbose=0)
        return LABELS[int(outputs["probs"].mean(axis=0).argmax())]

    def _read_faces(self, clip: Path) -> dict[str, Any]:
        """The largest face of every tenth frame."""
        import av
        import cv2
        import numpy as np

        crops = []
        with av.open(str(clip)) as container:
            frames = list(container.decode(video=0))
        for frame in frames[::10]:
            rgb = frame.to_ndarray(format="rgb24")
            faces = self.detector.detect_faces(rgb)
            if faces:
                x, y, w, h = max((f["box"] for f in faces), key=lambda b: b[2] * b[3])
                crop = rgb[max(y, 0) : y + h, max(x, 0) : x + w]
                crops.append(cv2.resize(crop, (224, 224)))
        face = np.array(crops, np.float32)
        if len(self.model.input["face"].shape) == 5:
            return {"face": face[None], "face_mask": np.ones((1, len(face)), np.float32)}
        if "face_mask" in self.inputs:
            middle = face[len(face) // 2][None]
            return {"face": middle, "face_mask": np.ones((1, 1), np.float32)}
        return {"face": face}

    def _read_voice(self, clip: Path) -> dict[str, Any]:
        """MFCC of the first seconds, with the settings of this project."""
        import av
        import librosa
        import numpy as np

        with av.open(str(clip)) as container:
            rate_hz = container.streams.audio[0].rate
            blocks = [f.to_ndarray().mean(axis=0) for f in container.decode(audio=0)]
        sound = np.concatenate(blocks).astype(np.float32)
        sound = librosa.resample(sound, orig_sr=rate_hz, target_sr=48_000)
        sound = librosa.util.fix_length(sound, size=3 * 48_000)
        mfcc = librosa.feature.mfcc(
            y=sound, sr=48_000, n_mfcc=20, n_fft=2048, hop_length=512, fmax=8000,
            pad_mode="constant",
        )  # fmt: skip
        return {"mfcc": mfcc[None], "mfcc_mask": np.ones((1, 1), np.float32)}


if __name__ == "__main__":
    print(NaivePipeline(Path(sys.argv[1])).predict(Path(sys.argv[2])))
