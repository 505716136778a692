"""The parity check: a file is exported only if onnxruntime computes what Keras computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from keras_emo.errors import Reason
from keras_emo.export.onnx import ExportError, check_proto
from keras_emo.inference.batch import Batch, Run
from keras_emo.inference.manifest import Parity
from keras_emo.inference.session import available_cores, open_session
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import AudioSpec, ClipSpec

if TYPE_CHECKING:
    import keras

BATCHES = (1, 7)
N_FRAMES = 5
TOLERANCE = 1e-4  # on logits, and on probs and embedding where the scale allows


def run_onnx(graph: onnx.ModelProto | Path) -> Run:
    """A graph, or the file of one, as a function from inputs to outputs by name."""
    source = graph if isinstance(graph, Path) else graph.SerializeToString()
    session = open_session(source, available_cores())
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def write_graph(proto: onnx.ModelProto, path: Path) -> Run:
    """Check and write a graph; returns the written file as a function. Raises ExportError."""
    check_proto(proto, path)
    path.write_bytes(proto.SerializeToString())
    return run_onnx(path)


def run_saved_model(folder: Path) -> Run:
    """The default signature of a SavedModel as a function from inputs to outputs by name."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(feed: Batch) -> Batch:
        tensors = {name: tf.constant(array) for name, array in feed.items()}
        outputs = loaded.signatures["serving_default"](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def sample_feed(
    entry: ModelEntry, n: int, spec: ClipSpec, golden: bool = False, seed: int = 0
) -> Batch:
    """Inputs as a network may get them: smooth pictures, MFCC-like values, masks with gaps.

    In a batch of several the last clip lacks its face and the one before its sound, where the
    network has masks: an all-masked clip must not give NaN. golden: pictures without noise in
    whole numbers, which pack well.
    """
    rng = np.random.default_rng((seed, n))
    size = spec.face.size_px
    n_frames = {"all": (2 if golden else N_FRAMES,)}.get(entry.frames, ())
    coarse = rng.uniform(0, 255, (n, *n_frames, 8, 8, 3)).round()
    face = coarse.repeat(-(-size // 8), axis=-3).repeat(-(-size // 8), axis=-2)
    face = face[..., :size, :size, :]
    if not golden:
        face = np.clip(face + rng.normal(0, 8, face.shape), 0, 255)
    mfcc = rng.normal(0, 25, (n, *spec.audio.shape)).round(1)
    mfcc[:, 0] -= 300
    face_mask, mfcc_mask = np.ones((n, *(n_frames or (1,)))), np.ones((n, 1))
    if n > 2:
        face_mask[0, 1:] = 0.0
        face_mask[-1] = 0.0
        mfcc_mask[-2] = 0.0
    feed = {"face": face, "face_mask": face_mask, "mfcc": mfcc, "mfcc_mask": mfcc_mask}
    return {name: feed[name].astype(np.float32) for name in entry.inputs}


def sample_sounds(spec: AudioSpec) -> np.ndarray:
    """Waveforms float32 (7, n_samples): voiced syllables first, then what is hard to get right.

    Silence, a sine (all but one band lie at the floor of top_db), noise that clips, noise near
    silence, a deep tone under faint hiss, a single impulse.
    """
    rng, t = np.random.default_rng(0), np.arange(spec.n_samples) / spec.sample_rate_hz
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(4.4 * t)) / spec.sample_rate_hz
    voice = sum(np.sin(n * phase) / n for n in range(1, 40))
    voice *= np.maximum(0.0, np.sin(2 * np.pi * 2.5 * t)) ** 2
    noise = rng.normal(0, 1, spec.n_samples)
    sounds = [
        0.2 * voice + 1e-3 * noise,
        0 * t,
        0.5 * np.sin(2 * np.pi * 440 * t),
        np.clip(noise, -1, 1),
        1e-4 * noise,
        0.9 * np.sin(2 * np.pi * 60 * t) + 1e-4 * noise,
        (np.arange(spec.n_samples) == spec.n_samples // 3) * 1.0,
    ]
    return np.stack(sounds).astype(np.float32)


def compare(
    reference: Run, exported: Run, feeds: Sequence[Batch], name: str, tolerance: float = TOLERANCE
) -> Parity:
    """Compare the outputs of two networks over the feeds.

    Raises ExportError where logits or probs differ by more than the tolerance, for non-finite
    values, for another shape, and where the logits hardly vary: agreement would prove nothing.
    """
    worst = {"logits": 0.0, "probs": 0.0, "embedding": 0.0}
    batches, logits = [], []
    for feed in feeds:
        ours, theirs = reference(feed), exported(feed)
        batches.append(len(next(iter(feed.values()))))
        logits.append(ours["logits"])
        for key in worst:
            if ours[key].shape != theirs[key].shape or not np.isfinite(theirs[key]).all():
                cause = f"{key}: non-finite or of shape {theirs[key].shape}, batch {batches[-1]}"
                raise ExportError(name, Reason.EXPORT_FAILED, cause)
            worst[key] = max(worst[key], float(np.abs(ours[key] - theirs[key]).max()))
    spread = float(np.concatenate(logits).std())
    for key in ("logits", "probs"):
        if worst[key] > tolerance:
            cause = f"{key} differ from Keras by {worst[key]:.2e}, at most {tolerance:.0e}"
            raise ExportError(name, Reason.EXPORT_FAILED, cause)
    if spread < 1e-3:  # a network that predicts the same for every input
        cause = f"logits vary by {spread:.1e} only; agreement would prove nothing"
        raise ExportError(name, Reason.EXPORT_FAILED, cause)
    return Parity(worst, tuple(batches), spread)


def check_biases(model: keras.Model) -> None:
    """Refuse a network whose biases are all zero: it was never trained, parity would be weak."""
    biases = [w for w in model.weights if w.name in ("bias", "beta")]
    if biases and not any(np.any(w.numpy()) for w in biases):
        cause = "every bias is zero; train the network before exporting it"
        raise ExportError(model.name, Reason.EXPORT_FAILED, cause)
