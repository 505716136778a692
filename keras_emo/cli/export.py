"""keras-emo export: trained networks as bundles that onnxruntime runs, as export.py does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_emo.cli.run import require, run_command
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.provenance import collect_facts, read_runs
from keras_emo.progress import Progress

if TYPE_CHECKING:
    from keras_emo.export.bundle import Reduce
    from keras_emo.export.gate import Gate
    from keras_emo.networks.catalog import ModelEntry
    from keras_emo.spec import ClipSpec

PRECISIONS = ("int8", "fp16")


def build_parser() -> argparse.ArgumentParser:
    """Options of export.py."""
    parser = argparse.ArgumentParser(
        prog="export.py",
        description="Turn trained networks into bundles that onnxruntime serves. A file that "
        "does not say what Keras says is not written.",
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of keras-emo export."""
    parser.add_argument(
        "--run",
        type=Path,
        nargs="+",
        required=True,
        help="run folder of train.py; several of one configuration become one network, the mean "
        "of their logits",
    )
    parser.add_argument(
        "--soup",
        default="",
        metavar="NETWORK",
        help="of several runs that began from the same pretrained weights, average the weights of "
        "this face network in place of its answers: one network to compute",
    )
    parser.add_argument("--model", required=True, help="a network of the run, or 'all'")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="bundle folder (with 'all': a folder for one bundle each)",
    )
    parser.add_argument(
        "--formats",
        default="onnx,saved_model",
        help="of onnx, saved_model, keras; onnx is always written",
    )
    parser.add_argument(
        "--table",
        type=Path,
        help="table.json of train.py --folds, with the same configuration: its figures stand in "
        "the model card",
    )
    parser.add_argument(
        "--waveform",
        action="store_true",
        help="add waveform.onnx, which takes sound instead of MFCC",
    )
    parser.add_argument(
        "--layout",
        action="append",
        default=[],
        metavar="NAME",
        help="of tfserving, triton, browser; several separated by commas, or the option again: "
        "beside the bundle also LAYOUT/NAME/1/ that this server loads, or the next free number; "
        "browser/NAME/ is a page that answers clips in the browser alone",
    )
    small = parser.add_argument_group("smaller numbers")
    small.add_argument(
        "--quantize",
        choices=PRECISIONS,
        help="int8: arithmetic, calibrated on training speakers and refused where it costs "
        "accuracy; fp16: storage of the weights only",
    )
    small.add_argument(
        "--judge",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="int8: runs of the same configuration with validation speakers, where --run has "
        "none: their networks must lose no more on these (default: the runs themselves)",
    )
    small.add_argument("--data", help="int8: the run's corpus folder, or 'builtin'")
    small.add_argument("--corpus", default="auto", help="as for train.py")
    small.add_argument("--cache", type=Path, default=Path("cache"), help="as for train.py")
    small.add_argument("--skip-bad", action="store_true", help="as for train.py")
    small.add_argument("--workers", type=int, default=0, help="as for train.py")
    small.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="of accuracy on validation speakers that int8 may cost (default 1.0)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run export.py; returns the exit code."""
    options = build_parser().parse_args(arguments)
    return run_command(run, options)


def run(options: argparse.Namespace) -> int:
    """Export what the options say."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # on a GPU an LSTM becomes an operator ONNX lacks
    require("keras", "tensorflow", "tf2onnx", "onnx")
    first, asked = options.run[0], read_runs(options.run)
    names = [options.model]
    if options.model == "all":
        names = [p.parent.name for p in sorted(first.glob("*/model.keras"))]
        names = [n for n in names if n != "pretrain"]
        if not names:
            raise UsageError(first, Reason.MISSING_STAGE, "no trained network in this run")
    formats, layouts = split_names(options.formats), split_names(",".join(options.layout))
    soup = split_names(options.soup)
    with Progress("export.py") as progress:
        progress.say("loading TensorFlow")
        import keras_emo.export.layouts  # noqa: F401  # brings all that follows
    from keras_emo.export.bundle import FORMATS, export_bundle
    from keras_emo.export.ensemble import check_soup, load_network
    from keras_emo.export.layouts import check_layouts, write_layout
    from keras_emo.export.quantize import NothingToQuantize
    from keras_emo.networks import MODELS, find
    from keras_emo.spec import ClipSpec

    unknown = [f for f in formats if f not in FORMATS] + [n for n in names if find(n) is None]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join((*FORMATS, *MODELS))}"
        raise UsageError("options", Reason.BAD_CONFIG, cause)
    check_layouts(layouts, options.quantize, options.out)
    if options.waveform and "mfcc" not in {i for n in names for i in MODELS[n].inputs}:
        raise UsageError("--waveform", Reason.BAD_CONFIG, f"{options.model} takes no sound")
    if soup and options.model == "all":
        raise UsageError("--soup", Reason.BAD_CONFIG, "name the one network with --model")
    check_soup(soup, options.run, names[0], asked)
    spec = ClipSpec.from_dict(asked["config"]["clip"])
    runs = (*options.run, *options.judge)
    for weights in (run / name / "model.keras" for run in runs for name in names):
        if not weights.is_file():
            cause = f"{weights.parent.name} has not been trained"
            raise UsageError(weights, Reason.MISSING_STAGE, cause)
    gate = _open_gate(options, spec) if options.quantize == "int8" else None

    def export(name: str, reduce: Reduce | None) -> None:
        progress.say(f"{name}, loading it")
        model = load_network(options.run, name, asked, spec, soup)
        facts = collect_facts(options.run, name, asked, options.table)
        facts["soup"] = list(soup)
        folder = options.out / name if options.model == "all" else options.out
        waveform = options.waveform and "mfcc" in MODELS[name].inputs
        figures = export_bundle(
            model, MODELS[name], spec, facts, folder, formats, reduce, waveform,
            lambda step: progress.say(f"{name}, {step}"),
        )  # fmt: skip
        progress.clear()
        print(_format(name, folder, figures), flush=True)
        for layout in layouts:
            progress.say(f"{name}, {layout}")
            written = write_layout(layout, model, MODELS[name], folder)
            progress.clear()
            print(f"  {layout}: {written}", flush=True)

    with Progress("export.py") as progress:
        for name in names:
            try:
                export(name, _choose_reduction(options, gate, MODELS[name], spec))
            except NothingToQuantize as e:
                if options.model != "all":
                    raise
                progress.clear()
                print(f"note: {e}; it stays fp32", file=sys.stderr)
                export(name, None)
    return ExitCode.OK


def split_names(text: str) -> tuple[str, ...]:
    """Names between commas, each once."""
    return tuple(dict.fromkeys(n.strip() for n in text.split(",") if n.strip()))


def _open_gate(options: argparse.Namespace, spec: ClipSpec) -> Gate:
    if not options.data:
        cause = "int8 is calibrated on the run's clips: name its corpus folder"
        raise UsageError("--data", Reason.BAD_CONFIG, cause)
    if not 0 <= options.max_drop <= 100:
        raise UsageError("--max-drop", Reason.BAD_CONFIG, "expected 0 to 100 points")
    from keras_emo.export.gate import open_gate
    from keras_emo.training.data import open_corpus

    corpus = open_corpus(
        options.data, options.corpus, options.cache, options.skip_bad, options.workers
    )
    return open_gate(
        options.run, options.judge, corpus, spec, options.cache, options.workers, options.max_drop
    )


def _choose_reduction(
    options: argparse.Namespace, gate: Gate | None, entry: ModelEntry, spec: ClipSpec
) -> Reduce | None:
    """What turns the float32 graph into the one that is shipped."""
    if gate is not None:
        from keras_emo.export.gate import quantize_gated

        return partial(quantize_gated, entry=entry, gate=gate, name=entry.name)
    if options.quantize == "fp16":
        from keras_emo.export.quantize import halve_gated

        return partial(halve_gated, entry=entry, spec=spec, name=entry.name)
    return None


def _format(name: str, folder: Path, figures: dict[str, Any]) -> str:
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in figures["seconds"].items())
    worst = {k: v["max_difference"]["logits"] for k, v in figures["parity"].items()}
    parity = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
    sizes = ", ".join(f"{v / 1e6:.1f} MB" for v in figures["bytes"].values())
    line = f"{name}: {folder}  {sizes}  {seconds}  largest logit difference: {parity}"
    for part, a in figures.get("quantization", {}).get("accuracy", {}).items():
        both = f"{100 * a['fp32']:.2f} to {100 * a['int8']:.2f} %"
        line += f"\n  {part}: accuracy {both} of {a['n_clips']} clips"
    if "waveform" in figures:
        worst = figures["waveform"]["max_difference"]
        line += f"\n  waveform.onnx: features {worst['features']:.1e}, probs {worst['probs']:.1e}"
    return line
