"""The network with its sound features inside: a waveform goes in where MFCC went."""

from __future__ import annotations

import json
from math import gcd
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from keras_emo.errors import Reason
from keras_emo.export.onnx import ExportError, GraphBuilder
from keras_emo.export.parity import run_onnx, sample_feed, sample_sounds, write_graph
from keras_emo.features.mfcc import AMIN, compute_mfcc, dct_matrix, hann_window, mel_filters
from keras_emo.inference.batch import Run
from keras_emo.inference.manifest import TensorSpec, Waveform
from keras_emo.networks.catalog import ModelEntry
from keras_emo.records import write_value
from keras_emo.spec import AudioSpec, ClipSpec

WAVEFORM = "waveform.onnx"
TAKES, REPLACES = "waveform", "mfcc"
FEATURES_TOLERANCE = 1e-3  # on MFCC, which reach -1131
# on probabilities; an int8 network rounds its input, and a hair's breadth may cross a step
PROBS_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-4, "int8": 2e-2}


def write_waveform(
    proto: onnx.ModelProto, entry: ModelEntry, spec: ClipSpec, precision: str, path: Path, run: Run
) -> Waveform:
    """Write waveform.onnx of a network.

    run: the network on MFCC. Raises ExportError where features or probabilities differ from
    the numpy path by more than the tolerance, for one clip or for several.
    """
    rate_hz, shape = spec.audio.sample_rate_hz, ("batch", spec.audio.n_samples)
    takes = TensorSpec(TAKES, "float32", shape, (-1, 1), rate_hz)
    front = build_features(spec.audio)
    whole = onnx.compose.merge_models(front, proto, [(REPLACES, REPLACES)])
    whole.producer_name, whole.producer_version = proto.producer_name, proto.producer_version
    for text in whole.metadata_props:
        if text.key == "inputs":
            inputs = json.loads(text.value)
            named = [write_value(takes) if i["name"] == REPLACES else i for i in inputs]
            text.value = json.dumps(named)
    features, joined = run_onnx(front), write_graph(whole, path)
    sounds = sample_sounds(spec.audio)
    batches = (1, len(sounds))
    limits = {"features": FEATURES_TOLERANCE, "probs": PROBS_TOLERANCE[precision]}
    worst = dict.fromkeys(limits, 0.0)
    for n in batches:
        mfcc = np.stack([compute_mfcc(sound, spec.audio) for sound in sounds[:n]])
        feed = {**sample_feed(entry, n, spec), "mfcc": mfcc}
        expected = {"features": mfcc, "probs": run(feed)["probs"]}
        given = {"waveform": sounds[:n]}
        del feed["mfcc"]
        found = {"features": features(given)["mfcc"], "probs": joined(feed | given)["probs"]}
        for key, limit in limits.items():
            difference = float(np.abs(found[key] - expected[key]).max())
            if not difference <= limit:  # NaN is refused too
                cause = f"{key} differ from the numpy path by {difference:.2e}, at most {limit:.0e}"
                raise ExportError(path, Reason.EXPORT_FAILED, cause)
            worst[key] = max(worst[key], difference)
    return Waveform(WAVEFORM, REPLACES, takes, worst, batches)


def build_features(spec: AudioSpec) -> onnx.ModelProto:
    """compute_mfcc as a graph: waveform (batch, n_samples) to mfcc, float32.

    The Fourier transform is two small products with constant cosines and sines. Frames of
    n_fft = p * q samples are read as p rows of q; the first product turns rows into p residues
    k1 of the frequency, the second, one a residue, sums over columns for k = k1 + p * k2 and
    only as many k2 as mel filters reach. Against cosines and sines of n_fft samples each it
    needs a tenth of the numbers, and its short sums lose less: near the floor of top_db, 80 dB
    below the peak, float32 sums over 2,048 samples are off by more than 1e-3.
    """
    g = GraphBuilder("features")
    window, first, second, mel = fourier_constants(spec)
    p, q = window.shape
    half, n_frames = spec.n_fft // 2, spec.n_frames
    after = -(-(spec.n_samples + 2 * half) // q) * q - spec.n_samples - half
    x = g.add("Pad", "waveform", np.array([0, half, 0, after]))
    x = g.add("Reshape", x, np.array([0, -1, q]))
    starts = spec.hop_length // q * np.arange(n_frames)[:, None]
    x = g.add("Gather", x, starts + np.arange(p), axis=1)  # (batch, n_frames, p, q)
    x = g.add("Mul", x, window)
    x = g.add("MatMul", first, x)  # (batch, n_frames, 2 p, q)
    x = g.add("Reshape", x, np.array([0, 0, 2, p, q]))
    x = g.add("Transpose", x, perm=[0, 3, 1, 2, 4])
    x = g.add("Reshape", x, np.array([0, p, n_frames, 2 * q]))
    x = g.add("Cast", x, to=TensorProto.DOUBLE)
    x = g.add("MatMul", x, second)  # (batch, p, n_frames, 2 m), real and imaginary parts
    x = g.add("Mul", x, x)
    x = g.add("Transpose", x, perm=[0, 2, 1, 3])
    x = g.add("Reshape", x, np.array([0, 0, -1]))
    x = g.add("Cast", x, to=TensorProto.FLOAT)
    x = g.add("MatMul", x, mel)  # energy (batch, n_frames, n_mels)
    x = g.add("Max", x, np.array(AMIN, np.float32))
    x = g.add("Cast", x, to=TensorProto.DOUBLE)  # as compute_mfcc does from here
    x = g.add("Log", x)
    x = g.add("Mul", x, np.array(10 / np.log(10)))
    peak = g.add("ReduceMax", x, np.array([1, 2]), keepdims=1)
    x = g.add("Max", x, g.add("Sub", peak, np.array(spec.top_db)))
    x = g.add("MatMul", x, dct_matrix(spec).T)
    x = g.add("Cast", x, to=TensorProto.FLOAT)
    g.add("Transpose", x, perm=[0, 2, 1], output="mfcc")
    return g.build({TAKES: ("batch", spec.n_samples)}, {REPLACES: ("batch", *spec.shape)})


def fourier_constants(spec: AudioSpec) -> tuple[np.ndarray, ...]:
    """Window (p, q), first (2 p, p) and second (p, 2 q, 2 m) product, mel filters (2 p m, n_mels).

    q divides the hop, so that frames are whole rows. The filters' rows stand in the order in
    which the products leave the squares, twice: once for real and once for imaginary parts.
    """
    n, mel = spec.n_fft, mel_filters(spec)
    common = gcd(spec.hop_length, n // 2)
    q = max(d for d in range(1, common + 1) if common % d == 0 and d * d <= 2 * n)
    p = n // q
    m = -(-mel.shape[1] // p)
    rows, columns, k1 = np.arange(p), np.arange(q)[:, None], np.arange(p)[:, None]
    angle = 2 * np.pi * k1 * rows / p
    first = np.concatenate([np.cos(angle), -np.sin(angle)]).astype(np.float32)
    angle = 2 * np.pi * columns * (k1[:, :, None] / n + np.arange(m) / q)  # (p, q, m)
    cos, sin = np.cos(angle), np.sin(angle)
    second = np.block([[cos, -sin], [sin, cos]])  # (p, 2 q, 2 m)
    padded = np.pad(mel.T, ((0, m * p - mel.shape[1]), (0, 0))).reshape(m, p, -1)
    filters = np.tile(padded.transpose(1, 0, 2), (1, 2, 1)).reshape(2 * p * m, -1)
    return hann_window(n).reshape(p, q), first, second, filters
