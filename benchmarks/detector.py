"""Face detection: this project's detector and the mtcnn package in turn, on the same frames.

python benchmarks/detector.py [CLIP ...]   (default: a few clips of the built-in corpus)
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(paths: list[Path]) -> None:
    import tensorflow as tf
    from mtcnn import MTCNN

    from keras_emo.features.mtcnn import FaceDetector
    from keras_emo.media.reader import read_media

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    frames = [f.rgb for p in paths for f in read_media(p).frames]
    ours, theirs = FaceDetector().detect, MTCNN(device="CPU:0").detect_faces
    spent_ms: dict[str, list[float]] = {"keras_emo": [], "mtcnn": []}
    for round_ in range(2):  # the first round warms up
        for frame in frames:
            for name, detect in (("keras_emo", ours), ("mtcnn", theirs)):
                start_s = time.perf_counter()
                detect(frame)
                if round_:
                    spent_ms[name].append(1e3 * (time.perf_counter() - start_s))
    height, width = frames[0].shape[:2]
    print(f"{len(frames)} frames of {width}x{height}, one thread, median ms a frame")
    for name, times in spent_ms.items():
        print(f"{name:<10} {median(times):8.1f}")
    print(f"ratio      {median(spent_ms['mtcnn']) / median(spent_ms['keras_emo']):8.1f}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main([Path(p) for p in sys.argv[1:]])
    else:
        from keras_emo.demo_corpus import BuiltinSpec, build_corpus

        with tempfile.TemporaryDirectory() as folder:
            small = BuiltinSpec(n_speakers=2, n_statements=1, strong=False)
            corpus = build_corpus(Path(folder), small, workers=1)
            main(sorted(corpus.rglob("*.mp4"))[:6])
