"""keras-emo evaluate: a bundle, or one per fold, scored on a labeled corpus."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, TextIO

from keras_emo import load
from keras_emo.cli.options import add_options, names
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Sample
from keras_emo.data.evaluation import CorpusEvaluation, evaluate_models
from keras_emo.data.splits import resolve_speakers
from keras_emo.demo_corpus import SPEAKER_NOTE
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.inference.bundle import DESCRIPTION, Bundle, load_bundle
from keras_emo.io import open_output
from keras_emo.labels import EMOTIONS
from keras_emo.metrics import format_interval, format_percent
from keras_emo.progress import Progress

SAME_IN_FOLDS = ("model", "preset", "precision", "averaged", "clip_spec")


def add_arguments(evaluate: argparse.ArgumentParser) -> None:
    """Options of keras-emo evaluate."""
    add_options(evaluate, "--bundle", "--threads", "--provider", "--corpus", "--skip-bad")
    evaluate.add_argument("--data", type=Path, required=True, help="corpus folder")
    evaluate.add_argument("--json", type=Path, help="write all metrics and predictions here")
    evaluate.add_argument(
        "--folds",
        type=Path,
        metavar="FOLDER",
        help="instead of --bundle: a folder with one bundle per fold, each measured on its own "
        "test speakers, with one set of metrics over all",
    )
    evaluate.add_argument(
        "--speakers",
        type=names,
        help="only these speakers, for example 1,11,20,2, or 'test': the bundle's own test "
        "speakers (default: all speakers in the folder)",
    )


def run(options: argparse.Namespace) -> int:
    """Score a bundle, or one per fold, on a labeled corpus and print the metrics."""
    for name in ("speakers", "bundle") if options.folds is not None else ():
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}", Reason.BAD_CONFIG, "not together with --folds")
    with nullcontext() if options.json is None else open_output(options.json) as stream:
        return _evaluate(options, stream)


@dataclass(frozen=True)
class Scored:
    """A bundle and the samples that it is scored on."""

    bundle: Bundle
    samples: list[Sample]

    @property
    def speakers(self) -> set[str]:
        return {s.speaker for s in self.samples}

    @property
    def known_speakers(self) -> set[str]:
        """Those whom the model has seen in training."""
        split = self.bundle.manifest.corpus.split
        return self.speakers & {*split.train, *split.val}


def _evaluate(options: argparse.Namespace, stream: TextIO | None) -> int:
    folders = find_folds(options.folds) if options.folds is not None else [options.bundle]
    bundles = [load_bundle(folder) for folder in folders]
    corpus = read_corpus(options.data, options.corpus, options.skip_bad)
    speakers = options.speakers if options.folds is None else ("test",)
    scored = [Scored(b, choose_samples(corpus.samples, speakers, b, options.data)) for b in bundles]
    known = set().union(*(s.known_speakers for s in scored))
    if options.folds is not None:
        check_folds(scored)
    elif known:
        warning = (
            f"the network was trained on {', '.join(sorted(known))}; their clips do not test it"
        )
        print(f"warning: {warning}", file=sys.stderr)
    open_model = partial(load, threads=options.threads, providers=options.providers)
    jobs = [(partial(open_model, s.bundle), s.samples) for s in scored]
    with Progress("evaluated", "clips") as progress:
        evaluation = evaluate_models(jobs, progress)
    facts: dict[str, Any] = {
        "corpus": {"name": corpus.name, "skipped": [str(p.path) for p in corpus.problems]},
        "bundle": bundles[0].manifest.name,
        "speakers_seen_in_training": sorted(known),
    }
    if options.folds is not None:
        facts |= {"bundle": options.folds.resolve().name, **summarize_folds(scored, evaluation)}
    print(format_evaluation(evaluation, facts.get("folds", {}), corpus.name), end="")
    if stream is not None:
        data = evaluation.to_dict() | facts
        stream.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    for failure in evaluation.failures:
        print(f"error: {failure}", file=sys.stderr)
    if evaluation.metrics.n_abstained == evaluation.metrics.n_clips:
        return ExitCode.REJECTED
    incomplete = evaluation.failures or evaluation.n_degraded or corpus.problems
    return ExitCode.PARTIAL if incomplete else ExitCode.OK


def choose_samples(
    samples: Sequence[Sample], speakers: Sequence[str] | None, bundle: Bundle, folder: Path
) -> list[Sample]:
    """Samples of the speakers asked for. Raises UsageError where there are none."""
    known = {s.speaker for s in samples}
    if speakers is None:
        return list(samples)
    tested = bundle.manifest.corpus.split.test
    if speakers == ("test",):
        chosen = known & set(tested)
    else:
        chosen = resolve_speakers(speakers, known, "speakers")
    if not chosen:
        cause = f"none of the bundle's test speakers ({', '.join(tested) or 'it has none'})"
        raise UsageError(folder, Reason.NO_CLIPS, cause)
    return [s for s in samples if s.speaker in chosen]


def find_folds(folder: Path) -> list[Path]:
    """Bundle folders in a folder, by name. Raises UsageError for fewer than two."""
    found = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
    if len(found) < 2:
        cause = f"{len(found)} bundles in it; --folds takes a folder with one for each fold"
        raise UsageError(folder, Reason.NOT_FOUND, cause)
    return found


def check_folds(scored: Sequence[Scored]) -> None:
    """Raise UsageError where bundles were made in different ways, where a speaker tests two of
    them, and where a bundle was trained on a speaker who tests it."""
    first = scored[0].bundle
    for bundle in (s.bundle for s in scored[1:]):
        for key in SAME_IN_FOLDS:
            if getattr(bundle.manifest, key) != getattr(first.manifest, key):
                cause = f"it has another {key} than {first.folder}: not folds of one network"
                raise UsageError(bundle.folder, Reason.BAD_CONFIG, cause)
    tested: set[str] = set()
    for fold in scored:
        split = fold.bundle.manifest.corpus.split
        for others, how in (
            (tested, "tests another fold too"),
            (split.train, "was trained on"),
            (split.val, "was validated on"),
        ):
            if both := sorted(fold.speakers & set(others)):
                cause = f"test speaker {both[0]} {how}"
                raise UsageError(fold.bundle.folder, Reason.BAD_SPLIT, cause)
        tested |= fold.speakers


def summarize_folds(scored: Sequence[Scored], evaluation: CorpusEvaluation) -> dict[str, Any]:
    """What is known of the folds besides the metrics over all their clips.

    ``folds``: accuracy by bundle; fold_mean and fold_deviation of these; ``made``: how the bundles
    were made, with n_networks averaged in each. export.py takes it all as a --table.
    """
    folds: dict[str, float] = {}
    for fold in scored:
        groups = [evaluation.metrics.by_speaker[s] for s in fold.speakers]
        n_right = sum(g.accuracy * g.n_clips for g in groups)
        folds[fold.bundle.folder.name] = n_right / sum(g.n_clips for g in groups)
    manifest = scored[0].bundle.manifest
    return {
        "folds": folds,
        "fold_mean": fmean(folds.values()),
        "fold_deviation": pstdev(folds.values()),
        "made": {
            "model": manifest.model,
            "precision": manifest.precision,
            **({"averaged": list(manifest.averaged)} if manifest.averaged else {}),
            "n_networks": max(1, len(manifest.corpus.split.members)),
        },
    }


def format_evaluation(
    evaluation: CorpusEvaluation, folds: dict[str, float], corpus_name: str
) -> str:
    """The metrics as a few lines of text. folds: accuracies by bundle."""
    metrics = evaluation.metrics
    recall = {name: value for name, value in metrics.recall.items() if value is not None}
    lines = [
        f"{metrics.n_clips} clips of {metrics.n_speakers} speakers"
        f"  {evaluation.clips_per_second:.2f} clips per second",
        f"accuracy {format_percent(metrics.accuracy)} % (95 %, speakers resampled: "
        f"{format_interval(metrics.intervals['accuracy'])})  UAR {format_percent(metrics.uar)}  "
        f"macro-F1 {format_percent(metrics.macro_f1)}  "
        f"majority {format_percent(metrics.majority_accuracy or 0.0)}",
        f"{metrics.n_abstained} without a prediction, {evaluation.n_degraded} degraded",
        "recall  " + "  ".join(f"{name} {100 * value:.0f}" for name, value in recall.items()),
    ]
    width = max(map(len, EMOTIONS)) + 1
    heads = [*(name[:5] for name in EMOTIONS), "none"]
    lines.append(" " * width + "".join(f"{head:>6}" for head in heads))
    for name, row in zip(EMOTIONS, metrics.confusion, strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{n:>6}" for n in row))
    lines += [f"{fold}  {format_percent(accuracy)} %" for fold, accuracy in folds.items()]
    lines += [
        f"{speaker}  {group.n_clips} clips  {format_percent(group.accuracy)} %"
        for speaker, group in metrics.by_speaker.items()
    ]
    if corpus_name == "builtin":
        lines.append(SPEAKER_NOTE)
    return "\n".join(lines) + "\n"
