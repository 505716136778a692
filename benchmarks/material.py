"""What the benchmarks share: which peers are there, the clip, the network."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path


def missing(packages: tuple[str, ...]) -> list[str]:
    """Which packages are not installed."""
    return [p for p in packages if importlib.util.find_spec(p) is None]


def write_hd_clip(source: Path, target: Path, seconds: float = 3.7, fps: int = 30) -> Path:
    """A clip at 1280x720, fps and a given length, by libx264 and AAC; a short source repeats."""
    import av

    with av.open(str(source)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        rate_hz, layout = stream.rate, stream.layout.name
        sound = list(container.decode(stream))
    with av.open(str(target), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "fast", "crf": "20"})
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        audio = container.add_stream("aac", rate=rate_hz, layout=layout)
        for i in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(frames[i % len(frames)], format="rgb24")
            frame = frame.reformat(1280, 720, "yuv420p", interpolation="BICUBIC")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        n_samples = 0
        for block in sound:
            if n_samples >= seconds * rate_hz:
                break
            block.pts, block.time_base = n_samples, Fraction(1, rate_hz)
            n_samples += block.samples
            container.mux(audio.encode(block))
        container.mux(audio.encode())
    return target


def train_nothing(name: str, folder: Path) -> tuple[Path, Path]:
    """(bundle, .keras file) of a compact network with weights that were moved, not trained.

    Speed does not ask what the weights are.
    """
    import keras
    import numpy as np

    from keras_emo.export.bundle import export_bundle
    from keras_emo.export.provenance import Provenance
    from keras_emo.inference.manifest import Split, TrainingCorpus
    from keras_emo.networks import MODELS, build
    from keras_emo.spec import ClipSpec

    keras.utils.set_random_seed(0)
    model, rng = build(name, "compact"), np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("bias", "beta")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    provenance = Provenance("compact", TrainingCorpus("builtin", Split(("a",), ("b",), ())))
    bundle = folder / "bundle"
    export_bundle(model, MODELS[name], ClipSpec(), provenance, bundle, ("onnx", "keras"))
    return bundle, bundle / "model.keras"
