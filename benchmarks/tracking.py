"""Face tracking, full detection in every frame, and the mtcnn package, on the same frames.

python benchmarks/tracking.py [CLIP ...]   (default: a few clips of the built-in corpus)
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
ROUNDS = 3  # the first warms up


def main(paths: list[Path]) -> None:
    from keras_emo.features.mtcnn import FaceDetector
    from keras_emo.features.tracking import FaceTracker, measure_iou
    from keras_emo.media.reader import read_media
    from keras_emo.spec import FaceSpec

    spec = FaceSpec()
    detector = FaceDetector(spec=spec)
    package = load_package()
    spent_ms: dict[str, list[float]] = {"tracked": [], "full": [], "mtcnn": []}
    overlaps, n_lost, n_frames = [], 0, 0
    for round_ in range(ROUNDS):
        for path in paths:
            tracker = FaceTracker(spec, detector)
            clip_ms = dict.fromkeys(spent_ms, 0.0)
            frames = [f.rgb for f in read_media(path).frames]
            for i, frame in enumerate(frames):  # the three in turn
                start_s = time.perf_counter()
                tracked = [f for f in tracker.update(frame, i / spec.frame_rate_hz) if f.found]
                tracked_s = time.perf_counter()
                full = detector.detect(frame)
                full_s = time.perf_counter()
                clip_ms["tracked"] += 1e3 * (tracked_s - start_s)
                clip_ms["full"] += 1e3 * (full_s - tracked_s)
                if package is not None:
                    package.detect_faces(frame)
                    clip_ms["mtcnn"] += 1e3 * (time.perf_counter() - full_s)
                if round_ == 0 and full:
                    best = max((measure_iou(full[0].box, f.box) for f in tracked), default=0.0)
                    overlaps.append(best)
                    n_lost += best == 0
            if round_:
                for name, total_ms in clip_ms.items():
                    spent_ms[name].append(total_ms / len(frames))
            else:
                n_frames += len(frames)
    height, width = frames[0].shape[:2]
    print(f"{n_frames} frames of {width}x{height} in {len(paths)} clips, one thread,")
    print(f"detect_every {spec.detect_every}; median over clips of ms a frame")
    base = median(spent_ms["tracked"])
    for name, times in spent_ms.items():
        if name == "mtcnn" and package is None:
            print("mtcnn       not installed")
        else:
            print(f"{name:<10} {median(times):8.2f}   {median(times) / base:6.1f} x tracked")
    if overlaps:
        print(f"IoU of tracked to full: mean {mean(overlaps):.4f}, least {min(overlaps):.3f}")
        print(f"faces lost: {n_lost} of {len(overlaps)}")


def load_package():
    """The mtcnn package's detector on one thread, or None."""
    if importlib.util.find_spec("mtcnn") is None:
        return None
    import tensorflow as tf
    from mtcnn import MTCNN

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return MTCNN(device="CPU:0")


if __name__ == "__main__":
    if sys.argv[1:]:
        main([Path(p) for p in sys.argv[1:]])
    else:
        from keras_emo.demo_corpus import BuiltinSpec, build_corpus

        with tempfile.TemporaryDirectory() as folder:
            small = BuiltinSpec(n_speakers=2, n_statements=1, strong=False)
            corpus = build_corpus(Path(folder), small, workers=1)
            main(sorted(corpus.rglob("*.mp4"))[:6])
