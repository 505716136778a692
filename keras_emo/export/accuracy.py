"""Smaller networks are exported only where they predict as well as the float32 network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from keras_emo.data.corpus import Corpus, Sample
from keras_emo.data.splits import assert_disjoint
from keras_emo.errors import Reason, UsageError
from keras_emo.export.ensemble import load_network
from keras_emo.export.onnx import ExportError, convert_onnx
from keras_emo.export.parity import BATCHES, compare, run_onnx, sample_feed
from keras_emo.export.provenance import read_reference, read_runs
from keras_emo.export.quantize import METHOD, quantize_int8, store_half
from keras_emo.inference.batch import Run, can_predict, collate_clips
from keras_emo.inference.manifest import Calibration, Quantization, References, SplitAccuracy
from keras_emo.io import digest_text
from keras_emo.labels import EMOTIONS
from keras_emo.metrics import ABSTAINED, score
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec
from keras_emo.training.config import RunManifest, TrainConfig
from keras_emo.training.data import Prepared, prepare
from keras_emo.training.evaluate import predict_split
from keras_emo.training.run import digest_clips

CLIPS_PER_CLASS = 20
# small kernels lose most by rounding: where float16 costs too much, they stay float32
HALF_MIN_ELEMENTS = (1 << 6, 1 << 12, 1 << 16, 1 << 18)
HALF_TOLERANCE = 1e-2  # on logits; a probability then changes by half of it at most


@dataclass(frozen=True)
class Reduced:
    """A smaller graph, its precision, and how it was made."""

    proto: onnx.ModelProto
    precision: str
    quantization: Quantization


@dataclass(frozen=True)
class Reference:
    """A network trained like the exported one, but with validation speakers held out."""

    prepared: Prepared
    convert: Callable[[str], onnx.ModelProto]  # network name to float32 graph


@dataclass(frozen=True)
class AccuracyCheck:
    """The clips of the exported network, and how many points of accuracy int8 may cost.

    references: empty where the network itself is scored on the validation speakers of its run.
    """

    prepared: Prepared
    max_drop_points: float
    references: tuple[Reference, ...] = ()


def open_check(
    runs: Sequence[Path],
    references: Sequence[Path],
    corpus: Corpus,
    cache: Path,
    workers: int,
    max_drop_points: float,
) -> AccuracyCheck:
    """The accuracy check of the network that runs become.

    references: runs of the same configuration. By default each of several runs is a reference:
    the validation speakers of one run are training speakers of another. Raises UsageError for a
    run of another corpus or other clips, or without the validation speakers that it needs.
    """
    first = read_runs(runs)
    prepared = _prepare(runs[0], first, corpus, cache, workers)
    scored = references or (runs if len(runs) > 1 else ())
    opened = []
    for run in scored:
        manifest = read_reference(run, first, runs[0])
        own = prepared if run == runs[0] else _prepare(run, manifest, corpus, cache, workers)
        _check_validates(own, run)
        opened.append(Reference(own, partial(_convert, run, manifest.config)))
    if not scored:
        _check_validates(prepared, runs[0])
    return AccuracyCheck(prepared, max_drop_points, tuple(opened))


def quantize_checked(proto: onnx.ModelProto, entry: ModelEntry, check: AccuracyCheck) -> Reduced:
    """The int8 network, calibrated on training speakers.

    Raises ExportError where accuracy on validation speakers, of the network or of all reference
    models together, drops by more than the check allows. Test speakers are scored afterwards
    and only recorded.
    """
    prepared, references = check.prepared, None
    calibration, small, graphs = _quantize(proto, entry, prepared)
    if check.references:
        val = _average([_score_reference(entry, r) for r in check.references])
        held_out = {s for r in check.references for s in r.prepared.split.val}
        references = References(len(check.references), tuple(sorted(held_out)))
    else:
        val = score_split(graphs, entry, prepared, "val")
    check_drop(val, check.max_drop_points, entry.name)
    accuracy = {"val": val}
    if prepared.split.test:
        accuracy["test"] = score_split(graphs, entry, prepared, "test")
    sizes = {"fp32": proto.ByteSize(), "int8": small.ByteSize()}
    limit = check.max_drop_points
    made = Quantization(METHOD, sizes, calibration, limit, accuracy, references)
    return Reduced(small, "int8", made)


def halve_checked(proto: onnx.ModelProto, entry: ModelEntry, spec: ClipSpec) -> Reduced:
    """The network with as many weights in float16 as HALF_TOLERANCE on its logits allows.

    Raises ExportError where even the largest kernels alone change them too much.
    """
    feeds, run = [sample_feed(entry, n, spec) for n in BATCHES], run_onnx(proto)
    for min_elements in HALF_MIN_ELEMENTS:
        small = store_half(proto, entry.name, min_elements)
        try:
            parity = compare(run, run_onnx(small), feeds, entry.name, HALF_TOLERANCE)
            break
        except ExportError:
            if min_elements == HALF_MIN_ELEMENTS[-1]:
                raise
    method = "weights stored as float16, arithmetic in float32"
    sizes = {"fp32": proto.ByteSize(), "fp16": small.ByteSize()}
    worst = parity.max_difference
    made = Quantization(method, sizes, min_elements=min_elements, max_difference=worst)
    return Reduced(small, "fp16", made)


def choose_samples(prepared: Prepared, entry: ModelEntry) -> list[Sample]:
    """CLIPS_PER_CLASS samples of training speakers that the network can predict of each class.

    The choice is the same for the same corpus and split. Raises UsageError where there are none.
    """
    ranked = sorted(
        (s for s in prepared.samples("train") if s.sample_id in prepared.cache.files),
        key=lambda s: digest_text(s.sample_id),
    )
    chosen: list[Sample] = []
    for emotion in EMOTIONS:
        same = (s for s in ranked if s.emotion == emotion)
        usable = (s for s in same if can_predict(prepared.load(s), entry.inputs))
        chosen += islice(usable, CLIPS_PER_CLASS)
    held_out = {*prepared.split.val, *prepared.split.test}
    if not chosen or any(s.speaker in held_out for s in chosen):
        cause = "calibration needs clips of training speakers, and of nobody else"
        raise UsageError(entry.name, Reason.NO_CLIPS, cause)
    return chosen


def score_split(
    runs: dict[str, Run], entry: ModelEntry, prepared: Prepared, split: str
) -> SplitAccuracy:
    """Accuracy per clip of the networks ``fp32`` and ``int8`` on a split.

    A clip that failed or lacks the modality counts as wrong.
    """
    clips = prepared.clips(split)
    labels = np.array([sample.label for sample, _ in clips], np.int64)
    predicted = {}
    for key, run in runs.items():
        probs = predict_split(run, entry, clips, prepared.spec)
        known = np.isfinite(probs).all(axis=1)
        predicted[key] = np.where(known, probs.argmax(axis=1), ABSTAINED)
    accuracies = {key: score(labels, each).accuracy for key, each in predicted.items()}
    agreement = float((predicted["fp32"] == predicted["int8"]).mean())
    return SplitAccuracy(len(clips), **accuracies, agreement=agreement)


def check_drop(scores: SplitAccuracy, max_drop_points: float, name: str) -> None:
    """Raise ExportError where int8 costs more points of validation accuracy than allowed."""
    before, after = 100 * scores.fp32, 100 * scores.int8
    if before - after > max_drop_points + 1e-9:
        cause = (
            f"accuracy on validation clips drops from {before:.2f} % (fp32) to {after:.2f} % "
            f"(int8), more than {max_drop_points:g} points; nothing was written"
        )
        raise ExportError(name, Reason.ACCURACY_DROP, cause)


def _prepare(
    run: Path, manifest: RunManifest, corpus: Corpus, cache: Path, workers: int
) -> Prepared:
    """A run's own clips, from the cache it was trained from."""
    if corpus.name != manifest.corpus:
        cause = f"it was trained on {manifest.corpus}, --data is {corpus.name}"
        raise UsageError(run, Reason.BAD_CONFIG, cause)
    assert_disjoint(manifest.split, corpus.samples)
    prepared = prepare(corpus, manifest.split, manifest.config.clip, cache, workers)
    if digest_clips(prepared) != manifest.clips:
        cause = "the clips of --data are not those of the run: other files, or other speakers"
        raise UsageError(run, Reason.BAD_CONFIG, cause)
    return prepared


def _check_validates(prepared: Prepared, run: Path | str) -> None:
    if not prepared.split.val:
        cause = "int8 needs validation speakers: name runs that have some with --reference-run"
        raise UsageError(run, Reason.BAD_SPLIT, cause)


def _convert(run: Path, config: TrainConfig, name: str) -> onnx.ModelProto:
    return convert_onnx(load_network([run], name, config), {})


def _quantize(
    proto: onnx.ModelProto, entry: ModelEntry, prepared: Prepared
) -> tuple[Calibration, onnx.ModelProto, dict[str, Run]]:
    """The calibration, the int8 graph, and both graphs as functions."""
    samples = choose_samples(prepared, entry)
    clips = map(prepared.load, samples)
    feeds = (collate_clips([c], entry.inputs, entry.frames, prepared.spec) for c in clips)
    small = quantize_int8(proto, feeds, entry.name)
    calibration = Calibration(len(samples), tuple(sorted({s.speaker for s in samples})))
    return calibration, small, {"fp32": run_onnx(proto), "int8": run_onnx(small)}


def _score_reference(entry: ModelEntry, reference: Reference) -> SplitAccuracy:
    """Calibrated on its own training speakers, scored on its own validation speakers."""
    prepared = reference.prepared
    _, _, graphs = _quantize(reference.convert(entry.name), entry, prepared)
    return score_split(graphs, entry, prepared, "val")


def _average(scores: Sequence[SplitAccuracy]) -> SplitAccuracy:
    """Accuracy over all clips of all references."""
    weights = [s.n_clips for s in scores]
    rows = [(s.fp32, s.int8, s.agreement) for s in scores]
    return SplitAccuracy(sum(weights), *map(float, np.average(rows, axis=0, weights=weights)))
