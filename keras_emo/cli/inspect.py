"""keras-emo inspect: the content of a bundle, as text or JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping

from keras_emo.cli.options import add_options
from keras_emo.errors import ExitCode
from keras_emo.inference.bundle import Bundle, load_bundle
from keras_emo.inference.manifest import BundleManifest, Evaluation, TrainingCorpus
from keras_emo.metrics import format_percent
from keras_emo.progress import make_printable
from keras_emo.spec import AudioSpec, FaceSpec

MEANINGS = {
    "face": "crops, RGB",
    "face_mask": "1 where there is a crop, 0 on padding",
    "mfcc": "coefficients x frames",
    "mfcc_mask": "1 where there is sound",
}
SPLITS = {
    "val": "validation speakers",
    "test": "test speakers, never used for a decision",
    "folds": "cross-validation of networks trained in the same way, on held-out speakers",
}


def add_arguments(inspect: argparse.ArgumentParser) -> None:
    """Options of keras-emo inspect."""
    add_options(inspect, "bundle")
    inspect.add_argument(
        "--format", choices=("json", "text"), default="text", help="(default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Print a verified bundle's description. Raises BundleError."""
    bundle = load_bundle(options.bundle)
    if options.format == "json":
        head = {"folder": str(bundle.folder), "bytes": count_bytes(bundle)}
        print(json.dumps(head | bundle.manifest.to_dict(), indent=1))
    else:
        for line in describe(bundle):
            print(make_printable(line))
    return ExitCode.OK


def count_bytes(bundle: Bundle) -> int:
    """Size of all files of a bundle."""
    return sum(f.bytes for f in bundle.manifest.files.values())


def describe(bundle: Bundle) -> Iterator[str]:
    """The bundle in lines of text."""
    manifest, files = bundle.manifest, bundle.manifest.files
    n = manifest.parameters
    parameters = "" if n is None else f"{n:,} parameters, "
    yield f"{manifest.name}: {manifest.model}, {manifest.preset} preset"
    yield (
        f"  {parameters}{manifest.precision}, {count_bytes(bundle) / 1e6:.1f} MB in "
        f"{len(files)} files; all digests match"
    )
    if manifest.quantization is not None:
        yield f"  quantization: {manifest.quantization.method}"
    yield f"  license: {manifest.license}"
    yield from ("", "Preprocessing")
    if "face" in bundle.modalities:
        yield from (
            f"  face   {line}" for line in describe_face(bundle.spec.face, bundle.manifest.frames)
        )
    if "voice" in bundle.modalities:
        yield from (f"  voice  {line}" for line in describe_audio(bundle.spec.audio))
    yield from ("", "Inputs and outputs")
    yield from _describe_tensors(manifest)
    yield f"  labels: {', '.join(manifest.labels)}"
    if manifest.waveform is not None:
        yield "  waveform.onnx takes sound instead of MFCC"
    yield from ("", "Trained on")
    yield from _describe_corpus(manifest.corpus)
    yield from ("", "Metrics, %; 95 % interval by resampling speakers")
    yield from _describe_metrics(manifest.metrics)
    yield from ("", "Checked at export")
    for name, parity in manifest.parity.items():
        worst, batches = parity.max_difference.get("logits", math.nan), list(parity.batches)
        yield f"  {name}: logits within {worst:.1e} of Keras, batches {batches}"
    yield from ("", "Files, sha256")
    width = max(map(len, files), default=0)
    for name, file in files.items():
        yield f"  {name:<{width}}  {file.bytes:>11,}  {file.sha256[:16]}..."
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    yield f"  opset {manifest.opset}; made with {versions}"


def describe_face(spec: FaceSpec, frames: str) -> Iterator[str]:
    """The face crops of a clip in words."""
    pooling = {
        "each": "one prediction per crop, then their mean",
        "one": "a prediction from the middle one",
        "all": "one prediction from all of them",
    }.get(frames, frames)
    yield (
        f"{spec.frame_rate_hz:g} frames a second, at most {spec.max_frames} "
        f"({spec.max_frames / spec.frame_rate_hz:.0f} s); {pooling}"
    )
    margin = f", {100 * spec.margin:+.0f} % on each side" if spec.margin else ""
    yield (
        f"square crops of {spec.size_px} px around the box{margin}; faces from {spec.min_face_px} "
        f"px, confidence {spec.min_confidence:g}; of several people the {spec.speaker}"
    )


def describe_audio(spec: AudioSpec) -> Iterator[str]:
    """The sound of a clip in words."""
    yield f"{spec.duration_s:g} s, mono at {spec.sample_rate_hz / 1000:g} kHz, cut or padded"
    window_ms, hop_ms = (1000 * n / spec.sample_rate_hz for n in (spec.n_fft, spec.hop_length))
    yield (
        f"{spec.n_mfcc} MFCC of {spec.n_mels} mel bands, {spec.fmin_hz:g} to {spec.fmax_hz:g} Hz, "
        f"every {hop_ms:.1f} ms from {window_ms:.1f} ms: {spec.n_mfcc} x {spec.n_frames}"
    )


def _describe_tensors(manifest: BundleManifest) -> Iterator[str]:
    tensors = [*(("in", t) for t in manifest.inputs), *(("out", t) for t in manifest.outputs)]
    rows = [(kind, t.name, t.dtype, " x ".join(map(str, t.shape))) for kind, t in tensors]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, (_, tensor) in zip(rows, tensors, strict=True):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        notes = MEANINGS.get(tensor.name), " to ".join(map(str, tensor.range or ()))
        yield "  ".join(["", *cells, ", ".join(filter(None, notes))]).rstrip()


def _describe_corpus(corpus: TrainingCorpus) -> Iterator[str]:
    split, pretrained = corpus.split, corpus.pretrained
    yield f"  {corpus.name}" + (f"; face network pretrained on {pretrained}" if pretrained else "")
    rows = {"training": split.train, "validation": split.val, "test": split.test}
    for what, speakers in rows.items():
        names = ", ".join(s.rpartition("/")[2] for s in speakers)
        yield f"  {what:<10}  {len(speakers):>2} speakers  {names}".rstrip()
    if split.members:
        own = ", each with its own validation speakers" if split.members[0].val else ""
        yield f"  an ensemble of {len(split.members)} networks{own}"


def _describe_metrics(evaluations: Mapping[str, Evaluation]) -> Iterator[str]:
    if not evaluations:
        yield "  none"
    for split, evaluation in evaluations.items():
        metrics = evaluation.metrics
        fitted = ", used to fit the fusion weight" if evaluation.fitted else ""
        yield (
            f"  {SPLITS.get(split, split)}{fitted}: {metrics.n_clips} clips of "
            f"{metrics.n_speakers} speakers"
        )
        for key, name in (("accuracy", "accuracy"), ("uar", "UAR"), ("macro_f1", "macro-F1")):
            yield f"    {name:<17}  {metrics.format(key)}"
        for gender, each in metrics.by_gender.items():
            yield f"    {f'{gender}, accuracy':<17}  {format_percent(each.accuracy)}"
        for label, value in metrics.recall.items():
            if value is not None:
                yield f"    {f'{label}, recall':<17}  {format_percent(value)}"
