"""The ``keras-emo`` command: predict and evaluate, with onnxruntime alone."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from keras_emo import __version__
from keras_emo.core.command import run_command
from keras_emo.core.errors import ClipError, ExitCode, Reason, UsageError
from keras_emo.core.labels import EMOTIONS
from keras_emo.data.builtin import SPEAKER_NOTE
from keras_emo.data.corpora import KINDS, read_corpus
from keras_emo.data.corpus import Problem, walk
from keras_emo.data.splits import resolve_speakers
from keras_emo.data.takes import Take
from keras_emo.runtime.bundle import load_bundle
from keras_emo.runtime.evaluation import LabelledClip, evaluate_clips
from keras_emo.runtime.predictor import Predictor
from keras_emo.runtime.writers import FORMATS, AnswerWriter, open_output

DEFAULT_BUNDLE = Path("saved_models/default")


def build_parser() -> argparse.ArgumentParser:
    """Options of keras-emo."""
    parser = argparse.ArgumentParser(
        prog="keras-emo",
        description="Say which of seven emotions face and voice of a speaker express.",
        epilog="Exit codes: 0 ok, 2 usage, 3 clip rejected, 4 partial result, 5 bundle refused, "
        "6 environment. An error is one line on stderr: file: reason: cause.",
    )
    parser.add_argument("--version", action="version", version=f"keras_emo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--bundle",
        type=Path,
        default=DEFAULT_BUNDLE,
        help=f"bundle folder (default: {DEFAULT_BUNDLE})",
    )
    shared.add_argument("--threads", type=_count, default=0, help="default: the cores at hand")

    predict = commands.add_parser("predict", parents=[shared], help="answer clips")
    predict.add_argument(
        "clips",
        nargs="+",
        type=Path,
        metavar="CLIP",
        help="video or sound files, or folders of them",
    )
    predict.add_argument("--format", choices=FORMATS, default="text")
    predict.add_argument("--out", type=Path, help="write here instead of to stdout")
    predict.set_defaults(run=run_predict)

    evaluate = commands.add_parser("evaluate", parents=[shared], help="score on a corpus")
    evaluate.add_argument("--data", type=Path, required=True, help="corpus folder")
    evaluate.add_argument("--corpus", choices=KINDS, default="auto")
    evaluate.add_argument("--json", type=Path, help="write all figures and answers here")
    evaluate.add_argument(
        "--speakers",
        help="only these, as 1,11,20,2, or 'test': the bundle's "
        "own test speakers (default: everybody in the folder)",
    )
    evaluate.add_argument("--skip-bad", action="store_true", help="go on without bad files")
    evaluate.set_defaults(run=run_evaluate)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run keras-emo; returns the exit code."""
    options = build_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be of any bytes
    return run_command(lambda: options.run(options))


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def run_predict(options: argparse.Namespace) -> int:
    """Answer every clip; one that fails is reported and the rest go on."""
    answered, degraded = 0, False
    with open_output(options.out) as stream:
        predictor = Predictor(load_bundle(options.bundle), options.threads)
        clips, problems = find_clips(options.clips)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = len(problems)
        writer = AnswerWriter(stream, options.format)
        try:
            for path in clips:
                try:
                    prediction = predictor.predict(path)
                except ClipError as e:
                    print(f"error: {e}", file=sys.stderr)
                    failed += 1
                    continue
                used = " and ".join(prediction.modalities)
                states = [f"{state}: answered from {used}" for state in prediction.states]
                for text in (*states, *prediction.warnings):
                    print(f"warning: {str(path)!r}: {text}", file=sys.stderr)
                writer.add(prediction)
                answered += 1
                degraded |= prediction.degraded
        finally:
            writer.finish()  # what is done is delivered, whatever stopped the rest
    if failed:
        print(f"{answered} answered, {failed} rejected", file=sys.stderr)
        return ExitCode.PARTIAL if answered else ExitCode.REJECTED
    return ExitCode.PARTIAL if degraded else ExitCode.OK


def find_clips(paths: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """Files as named and the recordings below folders; and what in the folders is not read.

    Raises UsageError for a folder without either.
    """
    clips: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        found, unread = walk(path)
        recordings = [f.path for f in found if f.kind in ("video", "audio")]
        for item in found:
            if item.kind == "other":
                cause = f"{item.path.suffix} is not read; convert it to .mp4 or .wav"
                unread.append(Problem(item.path, Reason.FORMAT_NOT_ALLOWED, cause))
        if not (recordings or unread):
            raise UsageError(path, Reason.NO_CLIPS, "no video or sound files in this folder")
        clips += recordings
        problems += unread
    return clips, problems


def run_evaluate(options: argparse.Namespace) -> int:
    """Score a bundle on a labelled corpus and print the figures."""
    if options.json is None:
        return _evaluate(options, None)
    with open_output(options.json) as stream:
        return _evaluate(options, stream)


def _evaluate(options: argparse.Namespace, stream: TextIO | None) -> int:
    bundle = load_bundle(options.bundle)
    corpus = read_corpus(options.data, options.corpus, options.skip_bad)
    trained = bundle.info["corpus"]["split"]
    takes = choose_takes(corpus.takes, options.speakers, trained["test"], options.data)
    seen = sorted({t.speaker for t in takes} & {*trained["train"], *trained["val"]})
    if seen:
        names = ", ".join(seen)
        print(f"warning: the network has learned from {names}; their clips do not test it",
              file=sys.stderr)  # fmt: skip
    clips = [LabelledClip(t.take_id, t.source, t.label, t.speaker, t.gender) for t in takes]
    figures = evaluate_clips(Predictor(bundle, options.threads), clips, _show_progress)
    figures["corpus"] = {"name": corpus.name, "skipped": [str(p.path) for p in corpus.problems]}
    figures["bundle"] = bundle.info["name"]
    figures["speakers_seen_in_training"] = seen
    print(format_figures(figures, corpus.name), end="")
    if stream is not None:
        stream.write(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    for failure in figures["failures"]:
        print(f"error: {failure['path']!r}: {failure['reason']}: {failure['cause']}",
              file=sys.stderr)  # fmt: skip
    if figures["n_abstained"] == figures["n_clips"]:
        return ExitCode.REJECTED
    partial = figures["failures"] or figures["n_degraded"] or corpus.problems
    return ExitCode.PARTIAL if partial else ExitCode.OK


def choose_takes(
    takes: Sequence[Take], speakers: str | None, tested: Sequence[str], where: Path
) -> list[Take]:
    """Takes of the speakers asked for. Raises UsageError where there are none."""
    known = {t.speaker for t in takes}
    if speakers is None:
        return list(takes)
    if speakers == "test":
        chosen = known & set(tested)
    else:
        chosen = resolve_speakers([n.strip() for n in speakers.split(",")], known, "speakers")
    if not chosen:
        cause = f"none of the bundle's test speakers ({', '.join(tested) or 'it has none'})"
        raise UsageError(where, Reason.NO_CLIPS, cause)
    return [t for t in takes if t.speaker in chosen]


def format_figures(figures: dict, corpus: str) -> str:
    """The figures as a few lines of text."""
    low, high = (100 * v for v in figures["interval_95"]["accuracy"])
    lines = [
        f"{figures['n_clips']} clips of {figures['n_speakers']} speakers"
        f"  {figures['clips_per_second']:.2f} clips a second",
        f"accuracy {100 * figures['accuracy']:.1f} % (95 %, speakers resampled: "
        f"{low:.1f} to {high:.1f})  UAR {100 * figures['uar']:.1f}  "
        f"macro-F1 {100 * figures['macro_f1']:.1f}  "
        f"majority {100 * figures['majority_accuracy']:.1f}",
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
    for speaker, part in figures["by_speaker"].items():
        lines.append(f"{speaker}  {part['n_clips']} clips  {100 * part['accuracy']:.1f} %")
    if corpus == "builtin":
        lines.append(SPEAKER_NOTE)
    return "\n".join(lines) + "\n"


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done}/{total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
