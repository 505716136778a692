"""keras-emo evaluate: a bundle scored on a labeled corpus."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from keras_emo import load
from keras_emo.cli.fold_bundles import check_folds, describe_folds, find_folds
from keras_emo.cli.options import CORPUS_HELP, add_bundle, add_threads
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Sample
from keras_emo.data.evaluation import LabeledClip, Part, evaluate_parts
from keras_emo.data.splits import resolve_speakers
from keras_emo.demo_corpus import SPEAKER_NOTE
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.inference.bundle import load_bundle
from keras_emo.io import open_output
from keras_emo.labels import EMOTIONS
from keras_emo.metrics import Metrics, format_interval, format_percent
from keras_emo.progress import Progress


def add_arguments(evaluate: argparse.ArgumentParser) -> None:
    """Options of keras-emo evaluate."""
    add_bundle(evaluate)
    add_threads(evaluate)
    evaluate.add_argument("--data", type=Path, required=True, help="corpus folder")
    evaluate.add_argument("--corpus", default="auto", help=CORPUS_HELP)
    evaluate.add_argument("--json", type=Path, help="write all figures and predictions here")
    evaluate.add_argument(
        "--folds",
        type=Path,
        metavar="FOLDER",
        help="instead of --bundle: a folder with one bundle per fold, each measured on its own "
        "test speakers, with one set of figures over all",
    )
    evaluate.add_argument(
        "--speakers",
        help="only these speakers, for example 1,11,20,2, or 'test': the bundle's own test "
        "speakers (default: all speakers in the folder)",
    )
    evaluate.add_argument("--skip-bad", action="store_true", help="skip unreadable files")


def run(options: argparse.Namespace) -> int:
    """Score a bundle, or one of each fold, on a labeled corpus and print the figures."""
    if options.folds is not None and options.speakers is not None:
        raise UsageError("--speakers", Reason.BAD_CONFIG, "not together with --folds")
    if options.folds is not None and options.bundle is not None:
        raise UsageError("--bundle", Reason.BAD_CONFIG, "not together with --folds")
    if options.json is None:
        return _evaluate(options, None)
    with open_output(options.json) as stream:
        return _evaluate(options, stream)


def _evaluate(options: argparse.Namespace, stream: TextIO | None) -> int:
    folds = find_folds(options.folds) if options.folds is not None else []
    bundles = [load_bundle(b) for b in folds or [options.bundle]]
    corpus = read_corpus(options.data, options.corpus, options.skip_bad)
    parts: list[Part] = []
    seen: set[str] = set()
    for bundle in bundles:
        trained = bundle.manifest.corpus.split
        speakers = "test" if folds else options.speakers
        samples = choose_samples(corpus.samples, speakers, trained.test, options.data)
        seen |= {t.speaker for t in samples} & {*trained.train, *trained.val}
        clips = [LabeledClip(t.sample_id, t.source, t.label, t.speaker, t.gender) for t in samples]
        parts.append((partial(load, bundle, threads=options.threads), clips))
    if folds:
        check_folds(bundles, [{c.speaker for c in clips} for _, clips in parts])
    elif seen:
        names = ", ".join(sorted(seen))
        print(f"warning: the network has learned from {names}; their clips do not test it",
              file=sys.stderr)  # fmt: skip
    with Progress("answered", "clips") as progress:
        figures = evaluate_parts(parts, progress)
    figures["corpus"] = {"name": corpus.name, "skipped": [str(p.path) for p in corpus.problems]}
    figures["bundle"] = options.folds.resolve().name if folds else bundles[0].manifest.name
    figures["speakers_seen_in_training"] = sorted(seen)
    if folds:
        figures |= describe_folds(bundles, figures)
    print(format_figures(figures, corpus.name), end="")
    if stream is not None:
        stream.write(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    for failure in figures["failures"]:
        print(f"error: {failure['path']!r}: {failure['reason']}: {failure['cause']}",
              file=sys.stderr)  # fmt: skip
    if figures["n_abstained"] == figures["n_clips"]:
        return ExitCode.REJECTED
    lacking = figures["failures"] or figures["n_degraded"] or corpus.problems
    return ExitCode.PARTIAL if lacking else ExitCode.OK


def choose_samples(
    samples: Sequence[Sample], speakers: str | None, tested: Sequence[str], where: Path
) -> list[Sample]:
    """Takes of the speakers asked for. Raises UsageError where there are none."""
    known = {t.speaker for t in samples}
    if speakers is None:
        return list(samples)
    if speakers == "test":
        chosen = known & set(tested)
    else:
        chosen = resolve_speakers([n.strip() for n in speakers.split(",")], known, "speakers")
    if not chosen:
        cause = f"none of the bundle's test speakers ({', '.join(tested) or 'it has none'})"
        raise UsageError(where, Reason.NO_CLIPS, cause)
    return [t for t in samples if t.speaker in chosen]


def format_figures(figures: dict, corpus: str) -> str:
    """The figures as a few lines of text."""
    metrics = Metrics.from_dict(figures)
    low_to_high = format_interval(metrics.intervals["accuracy"])
    lines = [
        f"{figures['n_clips']} clips of {figures['n_speakers']} speakers"
        f"  {figures['clips_per_second']:.2f} clips a second",
        f"accuracy {format_percent(metrics.accuracy)} % (95 %, speakers resampled: "
        f"{low_to_high})  UAR {format_percent(metrics.uar)}  "
        f"macro-F1 {format_percent(metrics.macro_f1)}  "
        f"majority {format_percent(metrics.majority_accuracy or 0.0)}",
        f"{figures['n_abstained']} without an answer, {figures['n_degraded']} degraded",
        "recall  " + "  ".join(
            f"{name} {100 * value:.0f}" for name, value in figures["recall"].items()
            if value is not None
        ),
    ]  # fmt: skip
    width = max(map(len, EMOTIONS)) + 1
    heads = [*(name[:5] for name in EMOTIONS), "none"]
    lines.append(" " * width + "".join(f"{h:>6}" for h in heads))
    for name, row in zip(EMOTIONS, figures["confusion"]["counts"], strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{n:>6}" for n in row))
    for fold, accuracy in figures.get("folds", {}).items():
        lines.append(f"{fold}  {100 * accuracy:.1f} %")
    for speaker, part in figures["by_speaker"].items():
        lines.append(f"{speaker}  {part['n_clips']} clips  {100 * part['accuracy']:.1f} %")
    if corpus == "builtin":
        lines.append(SPEAKER_NOTE)
    return "\n".join(lines) + "\n"
