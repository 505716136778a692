"""The gate of int8: whether it answers as well, for speakers nobody learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from keras_emo.data.corpus import Sample
from keras_emo.data.splits import Split, assert_disjoint
from keras_emo.errors import Reason, UsageError
from keras_emo.export.calibration import CLIPS_A_CLASS, choose_samples, read_feeds, score_part
from keras_emo.export.ensemble import load_network
from keras_emo.export.onnx import ExportError, convert_onnx
from keras_emo.export.provenance import read_alike, read_runs
from keras_emo.export.quantize import METHOD, open_run, quantize_int8
from keras_emo.inference.batch import Run
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec
from keras_emo.training.data import Prepared, prepare
from keras_emo.training.run import digest_clips

MAX_DROP_POINTS = 1.0


@dataclass(frozen=True)
class Judge:
    """A network trained like the one that is shipped, with validation speakers of its own."""

    prepared: Prepared
    convert: Callable[[str], onnx.ModelProto]  # by the network's name, its float32 graph


@dataclass(frozen=True)
class Gate:
    """The clips of what is shipped, and how many points of accuracy int8 may cost.

    judges: none where the network is judged itself, on validation speakers of its run.
    """

    prepared: Prepared
    max_drop_points: float = MAX_DROP_POINTS
    clips_a_class: int = CLIPS_A_CLASS
    judges: tuple[Judge, ...] = ()


def open_gate(
    runs: Sequence[Path],
    judges: Sequence[Path],
    corpus: Any,
    spec: ClipSpec,
    cache: Path,
    workers: int = 0,
    max_drop_points: float = MAX_DROP_POINTS,
) -> Gate:
    """The gate of the network that runs become.

    judges: runs of the same configuration; none: where several runs become one network, each
    of them, as one's validation speakers are known to another. Raises UsageError for a run of
    another corpus, of other clips, or without validation speakers where it has to judge.
    """
    asked = read_runs(runs)
    prepared = _prepare(runs[0], asked, corpus, spec, cache, workers)
    opened: list[Judge] = []
    chosen = [*judges] or ([*runs] if len(runs) > 1 else [])
    for run in chosen:
        theirs = read_alike(run, asked, runs[0])
        own = prepared
        if run != runs[0]:
            own = _prepare(run, theirs, corpus, spec, cache, workers)
        _check_validates(own, run)
        opened.append(Judge(own, partial(_convert, run, theirs, spec)))
    if not chosen:
        _check_validates(prepared, runs[0])
    return Gate(prepared, max_drop_points, judges=tuple(opened))


def quantize_gated(
    proto: onnx.ModelProto, entry: ModelEntry, gate: Gate, name: str
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The int8 network and what a bundle says of it.

    Calibrated on training speakers. Raises ExportError where the accuracy on validation speakers,
    of the network or of all its judges together, falls by more than the gate allows; test speakers
    are scored afterwards, for the record.
    """
    prepared = gate.prepared
    if not gate.judges:
        _check_validates(prepared, name)
    samples, small, graphs = _quantize(proto, entry, prepared, gate.clips_a_class, name)
    facts: dict[str, Any] = {}
    if gate.judges:
        scores = {"val": _join_scores(list(_judge(entry, gate, name)))}
        known = sorted({s for judge in gate.judges for s in judge.prepared.split.val})
        facts["judges"] = {"n_networks": len(gate.judges), "speakers": known}
    else:
        scores = {"val": score_part(graphs, entry, prepared, "val")}
    check_drop(scores["val"], gate.max_drop_points, name)
    if prepared.split.test:
        scores["test"] = score_part(graphs, entry, prepared, "test")
    return small, {
        "precision": "int8",
        "quantization": {
            "method": METHOD,
            "calibration": {
                "n_clips": len(samples),
                "speakers": sorted({t.speaker for t in samples}),
            },
            "max_drop_points": gate.max_drop_points,
            "accuracy": scores,
            **facts,
            "bytes": {"fp32": proto.ByteSize(), "int8": small.ByteSize()},
        },
    }


def check_drop(scores: dict[str, Any], max_drop_points: float, name: str) -> None:
    """Raise ExportError where int8 answers fewer validation clips than it may."""
    before, after = (100 * scores[k] for k in ("fp32", "int8"))
    if before - after > max_drop_points + 1e-9:
        cause = (
            f"int8 answers {after:.2f} % of the validation clips right, fp32 {before:.2f} %: "
            f"more than {max_drop_points:g} points less; nothing was written"
        )
        raise ExportError(name, Reason.ACCURACY_DROP, cause)


def _prepare(
    run: Path, asked: dict[str, Any], corpus: Any, spec: ClipSpec, cache: Path, workers: int
) -> Prepared:
    """A run's own clips, from the cache it was trained from."""
    if corpus.name != asked["corpus"]:
        cause = f"it was trained on {asked['corpus']}, --data is {corpus.name}"
        raise UsageError(run, Reason.BAD_CONFIG, cause)
    split = Split.from_dict(asked["split"])
    assert_disjoint(split, corpus.samples)
    prepared = prepare(corpus, split, spec, cache, workers)
    if digest_clips(prepared) != asked["clips"]:
        cause = "the clips of --data are not those of the run: other files, or other speakers"
        raise UsageError(run, Reason.BAD_CONFIG, cause)
    return prepared


def _check_validates(prepared: Prepared, run: Path | str) -> None:
    if not prepared.split.val:
        cause = (
            "int8 is checked on validation speakers, of whom the run has none; name runs of "
            "the same configuration that have some with --judge"
        )
        raise UsageError(run, Reason.BAD_SPLIT, cause)


def _convert(run: Path, asked: dict[str, Any], spec: ClipSpec, name: str) -> onnx.ModelProto:
    return convert_onnx(load_network([run], name, asked, spec), {})


def _quantize(
    proto: onnx.ModelProto, entry: ModelEntry, prepared: Prepared, n_a_class: int, name: str
) -> tuple[list[Sample], onnx.ModelProto, dict[str, Run]]:
    """The takes it is calibrated on, the int8 graph, and both graphs as they are run."""
    samples = choose_samples(prepared, entry, n_a_class)
    small = quantize_int8(proto, read_feeds(samples, entry, prepared), name)
    return samples, small, {"fp32": open_run(proto), "int8": open_run(small)}


def _judge(entry: ModelEntry, gate: Gate, name: str) -> Iterator[dict[str, Any]]:
    """Each judge made int8 on its own training speakers and scored on its validation speakers."""
    for judge in gate.judges:
        proto, prepared = judge.convert(name), judge.prepared
        _, _, graphs = _quantize(proto, entry, prepared, gate.clips_a_class, name)
        yield score_part(graphs, entry, prepared, "val")


def _join_scores(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares over all clips of all judges."""
    n_clips = sum(s["n_clips"] for s in scores)
    shares = {
        key: sum(s[key] * s["n_clips"] for s in scores) / n_clips
        for key in ("fp32", "int8", "agreement")
    }
    return {"n_clips": n_clips, **shares}
