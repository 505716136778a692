"""keras-emo export: trained networks as bundles that onnxruntime runs, as export.py does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from keras_emo.cli.options import add_options, names
from keras_emo.cli.run import require
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.provenance import collect_provenance, read_runs
from keras_emo.progress import Progress

if TYPE_CHECKING:
    from keras_emo.export.accuracy import AccuracyCheck
    from keras_emo.export.bundle import Reduce
    from keras_emo.inference.manifest import BundleManifest
    from keras_emo.networks.catalog import ModelEntry
    from keras_emo.spec import ClipSpec

PRECISIONS = ("int8", "fp16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of keras-emo export."""
    parser.description = (
        "Export trained networks as bundles for onnxruntime. An exported file that does not "
        "compute what Keras computes is refused."
    )
    parser.add_argument(
        "--run",
        type=Path,
        nargs="+",
        required=True,
        help="run folder of train.py; several runs of one configuration become one network, an "
        "ensemble that averages their logits",
    )
    parser.add_argument("--model", required=True, help="a network of the run, or 'all'")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="bundle folder; with --model all, the folder in which each bundle gets its own",
    )
    parser.add_argument(
        "--average-weights",
        type=names,
        default=(),
        metavar="NETWORK",
        help="with several runs that were initialized from the same weights: average the weights "
        "of this face network instead of its logits (a model soup), so that only one is computed",
    )
    parser.add_argument(
        "--formats",
        type=names,
        default="onnx,saved_model",
        help="of onnx, which is always written, saved_model and keras (default: %(default)s)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        help="table.json of a cross-validation (train.py --folds) of the same configuration, "
        "whose figures go into the model card",
    )
    parser.add_argument(
        "--waveform", action="store_true", help="add waveform.onnx, which takes samples, not MFCC"
    )
    parser.add_argument(
        "--layout",
        type=names,
        action="extend",
        default=[],
        help="also write folders for model servers beside the bundle: tfserving or triton, as "
        "NAME/BUNDLE/VERSION, or browser, a page that predicts in the browser; separated by "
        "commas, or the option again",
    )
    small = parser.add_argument_group("smaller networks")
    small.add_argument(
        "--quantize",
        choices=PRECISIONS,
        help="int8: integer arithmetic, calibrated on training speakers and refused where the "
        "accuracy drops; fp16: weights stored as float16",
    )
    small.add_argument(
        "--reference-run",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="int8: runs of the same configuration with validation speakers, on which the "
        "accuracy is checked (default: the runs themselves)",
    )
    small.add_argument("--data", help="int8: the run's corpus folder, or 'builtin'")
    add_options(small, "--corpus", "--cache", "--skip-bad")
    small.add_argument("--workers", type=int, default=0, help="processes that prepare clips")
    small.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="int8: how much accuracy on validation speakers may drop (default: 1.0)",
    )


def run(options: argparse.Namespace) -> int:
    """Export the chosen networks of the runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # on a GPU an LSTM becomes an operator ONNX lacks
    require("keras", "tensorflow", "tf2onnx", "onnx")
    manifest = read_runs(options.run)
    chosen = _choose_networks(options.run[0], options.model)
    formats, averaged = options.formats, options.average_weights
    layouts = tuple(dict.fromkeys(options.layout))
    with Progress("export.py") as progress:
        progress.say("loading TensorFlow")
        import keras_emo.export.layouts  # noqa: F401  # imports all modules below
    from keras_emo.export.bundle import FORMATS, export_bundle
    from keras_emo.export.ensemble import AVERAGE_WEIGHTS, check_averaged, load_network
    from keras_emo.export.layouts import check_layouts, write_layout
    from keras_emo.export.quantize import NothingToQuantize
    from keras_emo.networks import MODELS, find

    unknown = [f for f in formats if f not in FORMATS] + [n for n in chosen if find(n) is None]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join((*FORMATS, *MODELS))}"
        raise UsageError("options", Reason.BAD_CONFIG, cause)
    check_layouts(layouts, options.quantize, options.out)
    if options.waveform and not any("mfcc" in MODELS[n].inputs for n in chosen):
        raise UsageError("--waveform", Reason.BAD_CONFIG, f"{options.model} takes no sound")
    if averaged and options.model == "all":
        raise UsageError(AVERAGE_WEIGHTS, Reason.BAD_CONFIG, "name one network with --model")
    check_averaged(averaged, options.run, chosen[0], manifest)
    _check_trained((*options.run, *options.reference_run), chosen)
    check = _open_check(options) if options.quantize == "int8" else None

    def export(name: str, reduce: Reduce | None) -> None:
        progress.say(f"{name}, loading it")
        entry = MODELS[name]
        model = load_network(options.run, name, manifest.config, averaged)
        provenance = collect_provenance(options.run, name, manifest, options.table, averaged)
        folder = options.out / name if options.model == "all" else options.out
        waveform = options.waveform and "mfcc" in entry.inputs
        made = export_bundle(
            model, entry, manifest.config.clip, provenance, folder, formats, reduce, waveform,
            lambda step: progress.say(f"{name}, {step}"),
        )  # fmt: skip
        progress.clear()
        print(_format(made, folder), flush=True)
        for layout in layouts:
            progress.say(f"{name}, {layout}")
            written = write_layout(layout, model, entry, folder)
            progress.clear()
            print(f"  {layout}: {written}", flush=True)

    with Progress("export.py") as progress:
        for name in chosen:
            try:
                export(name, _choose_reduction(options, check, MODELS[name], manifest.config.clip))
            except NothingToQuantize as e:
                if options.model != "all":
                    raise
                progress.clear()
                print(f"note: {e}; it stays fp32", file=sys.stderr)
                export(name, None)
    return ExitCode.OK


def _choose_networks(run: Path, name: str) -> list[str]:
    if name != "all":
        return [name]
    trained = [p.parent.name for p in sorted(run.glob("*/model.keras"))]
    networks = [n for n in trained if n != "pretrain"]
    if not networks:
        raise UsageError(run, Reason.MISSING_STAGE, "no trained network in this run")
    return networks


def _check_trained(runs: Sequence[Path], networks: Sequence[str]) -> None:
    for weights in (run / name / "model.keras" for run in runs for name in networks):
        if not weights.is_file():
            cause = f"{weights.parent.name} has not been trained"
            raise UsageError(weights, Reason.MISSING_STAGE, cause)


def _open_check(options: argparse.Namespace) -> AccuracyCheck:
    if not options.data:
        cause = "int8 is calibrated on the run's clips: name its corpus folder"
        raise UsageError("--data", Reason.BAD_CONFIG, cause)
    if not 0 <= options.max_drop <= 100:
        raise UsageError("--max-drop", Reason.BAD_CONFIG, "expected 0 to 100 points")
    from keras_emo.export.accuracy import open_check
    from keras_emo.training.data import open_corpus

    cache, workers = options.cache, options.workers
    corpus = open_corpus(options.data, options.corpus, cache, options.skip_bad, workers)
    return open_check(options.run, options.reference_run, corpus, cache, workers, options.max_drop)


def _choose_reduction(
    options: argparse.Namespace, check: AccuracyCheck | None, entry: ModelEntry, spec: ClipSpec
) -> Reduce | None:
    """The function that makes the float32 graph smaller, where one was requested."""
    from keras_emo.export.accuracy import halve_checked, quantize_checked

    if check is not None:
        return partial(quantize_checked, entry=entry, check=check)
    if options.quantize == "fp16":
        return partial(halve_checked, entry=entry, spec=spec)
    return None


def _format(made: BundleManifest, folder: Path) -> str:
    seconds = ", ".join(f"{step} {s:.1f} s" for step, s in made.export_seconds.items())
    worst = {file: p.max_difference["logits"] for file, p in made.parity.items()}
    parity = ", ".join(f"{file} {difference:.1e}" for file, difference in worst.items())
    graphs = [made.files[file] for file in ("model.onnx", "waveform.onnx") if file in made.files]
    sizes = ", ".join(f"{graph.bytes / 1e6:.1f} MB" for graph in graphs)
    lines = [f"{made.model}: {folder}  {sizes}  {seconds}  largest logit difference: {parity}"]
    accuracy = made.quantization.accuracy if made.quantization else None
    for split, a in (accuracy or {}).items():
        both = f"{100 * a.fp32:.2f} to {100 * a.int8:.2f} %"
        lines.append(f"  {split}: accuracy {both} of {a.n_clips} clips")
    if made.waveform is not None:
        off = made.waveform.max_difference
        lines.append(f"  waveform.onnx: features {off['features']:.1e}, probs {off['probs']:.1e}")
    return "\n".join(lines)
