"""Claim: int8 predicts face crops at least 2.5 times as fast as float32 at batch 8.

Measured: ``visual_alexnet`` of both presets, freshly built with weights other than zero, float32
and int8 graph in onnxruntime, the same threads, in turn on the same crops; median ms a call.

python benchmarks/int8.py [--preset faithful --preset compact] [--batch 1 --batch 8]
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""


def build(preset: str):
    """The float32 and the int8 graph of a network whose every bias was moved."""
    import keras
    import numpy as np

    from keras_emo.export.onnx import convert_onnx
    from keras_emo.export.parity import sample_feed
    from keras_emo.export.quantize import quantize_int8
    from keras_emo.networks import MODELS, build
    from keras_emo.spec import ClipSpec

    keras.utils.set_random_seed(0)
    model, rng = build("visual_alexnet", preset), np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("bias", "beta", "moving_mean")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    entry = MODELS["visual_alexnet"]
    feeds = [sample_feed(entry, 8, ClipSpec(), seed=i) for i in range(4)]
    proto = convert_onnx(model, {})
    return proto, quantize_int8(proto, feeds, preset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", action="append", choices=("faithful", "compact"))
    parser.add_argument("--batch", action="append", type=int)
    parser.add_argument("--threads", type=int, default=0, help="default: the cores at hand")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    import numpy as np

    from keras_emo.inference.session import available_cores, open_session

    threads = options.threads or available_cores()
    rng = np.random.default_rng(1)
    for preset in options.preset or ("faithful", "compact"):
        protos = dict(zip(("fp32", "int8"), build(preset), strict=True))
        sizes = ", ".join(f"{k} {p.ByteSize() / 1e6:.1f} MB" for k, p in protos.items())
        print(f"visual_alexnet, {preset}: {sizes}, {threads} threads")
        sessions = {k: open_session(p.SerializeToString(), threads) for k, p in protos.items()}
        for batch in options.batch or (1, 8):
            face = rng.integers(0, 256, (batch, 224, 224, 3)).astype(np.float32)
            spent_ms: dict[str, list[float]] = {k: [] for k in sessions}
            for i in range(options.rounds + 3):  # the first rounds warm up
                for key, session in sessions.items():
                    start_s = time.perf_counter()
                    session.run(["logits"], {"face": face})
                    if i >= 3:
                        spent_ms[key].append(1e3 * (time.perf_counter() - start_s))
            ms = {k: median(v) for k, v in spent_ms.items()}
            ratio = median(a / b for a, b in zip(*spent_ms.values(), strict=True))
            print(f"  batch {batch}: fp32 {ms['fp32']:.2f} ms, int8 {ms['int8']:.2f} ms, "
                  f"ratio {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
