"""keras-emo export: trained networks as bundles that onnxruntime runs, as export.py does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_emo.cli.options import add_options, names
from keras_emo.cli.run import require
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.export.provenance import collect_provenance, read_runs
from keras_emo.networks import MODELS, find
from keras_emo.progress import Progress

if TYPE_CHECKING:
    from keras_emo.export.bundle import Reduce
    from keras_emo.inference.manifest import BundleManifest
    from keras_emo.spec import ClipSpec


_OPTIONS: dict[str, dict[str, Any]] = {
    "--run": {
        "type": Path, "nargs": "+", "required": True,
        "help": "run folder of train.py; several runs of one configuration become one network, an "
        "ensemble that averages their logits",
    },
    "--model": {"required": True, "help": "a network of the run, or 'all'"},
    "--out": {
        "type": Path, "required": True,
        "help": "bundle folder; with --model all, the folder in which each bundle gets its own",
    },
    "--average-weights": {
        "type": names, "default": (), "metavar": "NETWORK",
        "help": "with several runs initialized from the same weights: average the weights of this "
        "face network instead of its logits (a model soup), so that only one is computed",
    },
    "--formats": {
        "type": names, "default": "onnx,saved_model",
        "help": "of onnx, which is always written, saved_model and keras (default: %(default)s)",
    },
    "--table": {
        "type": Path,
        "help": "table.json of a cross-validation (train.py --folds), for the model card",
    },
    "--waveform": {
        "action": "store_true", "help": "add waveform.onnx, which takes samples, not MFCC",
    },
    "--layout": {
        "type": names, "action": "extend", "default": [],
        "help": "also write beside the bundle: tfserving or triton, folders for model servers, or "
        "browser, a page that predicts in the browser; separated by commas, or repeated",
    },
}  # fmt: skip
_SMALLER: dict[str, dict[str, Any]] = {
    "--quantize": {
        "choices": ("int8", "fp16"),
        "help": "int8: integer arithmetic, calibrated on training speakers and refused where the "
        "accuracy drops; fp16: weights stored as float16",
    },
    "--reference-run": {
        "type": Path, "nargs": "+", "default": [], "metavar": "RUN",
        "help": "int8: runs of the same configuration with validation speakers, on which the "
        "accuracy is checked (default: the runs themselves)",
    },
    "--data": {"help": "int8: the run's corpus folder, or 'builtin'"},
    "--workers": {"type": int, "default": 0, "help": "processes that prepare clips"},
    "--max-drop": {
        "type": float, "default": 1.0, "metavar": "POINTS",
        "help": "int8: how much accuracy on validation speakers may drop (default: 1.0)",
    },
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of keras-emo export."""
    parser.description = (
        "Export trained networks as bundles for onnxruntime. An exported file that does not "
        "compute what Keras computes is refused."
    )
    for name, how in _OPTIONS.items():
        parser.add_argument(name, **how)
    small = parser.add_argument_group("smaller networks")
    for name, how in _SMALLER.items():
        small.add_argument(name, **how)
    add_options(small, "--corpus", "--cache", "--skip-bad")


def run(options: argparse.Namespace) -> int:
    """Export the chosen networks of the runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # on a GPU an LSTM becomes an operator ONNX lacks
    require("keras", "tensorflow", "tf2onnx", "onnx")
    manifest = read_runs(options.run)
    spec, several = manifest.config.clip, options.model == "all"
    chosen = _list_trained(options.run[0]) if several else [options.model]
    formats, averaged = options.formats, options.average_weights
    layouts = tuple(dict.fromkeys(options.layout))
    with Progress("export.py") as progress:
        progress.say("loading TensorFlow")
        from keras_emo.export.bundle import FORMATS, export_bundle
        from keras_emo.export.ensemble import AVERAGE_WEIGHTS, check_averaged, load_network
        from keras_emo.export.layouts import check_layouts, write_layout
        from keras_emo.export.quantize import NothingToQuantize

    unknown = [f for f in formats if f not in FORMATS] + [n for n in chosen if find(n) is None]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join((*FORMATS, *MODELS))}"
        raise UsageError("options", Reason.BAD_CONFIG, cause)
    check_layouts(layouts, options.quantize, options.out)
    if options.waveform and not any("mfcc" in MODELS[n].inputs for n in chosen):
        raise UsageError("--waveform", Reason.BAD_CONFIG, f"{options.model} takes no sound")
    if averaged and several:
        raise UsageError(AVERAGE_WEIGHTS, Reason.BAD_CONFIG, "name one network with --model")
    check_averaged(averaged, options.run, chosen[0], manifest)
    _check_trained((*options.run, *options.reference_run), chosen)

    def report(text: str) -> None:
        progress.clear()
        print(text, flush=True)

    def export(name: str, reduce: Reduce | None) -> None:
        progress.say(f"{name}, loading it")
        entry = MODELS[name]
        folder = options.out / name if several else options.out
        model = load_network(options.run, name, manifest.config, averaged)
        provenance = collect_provenance(options.run, name, manifest, options.table, averaged)
        made = export_bundle(
            model, entry, spec, provenance, folder, formats, reduce,
            options.waveform and "mfcc" in entry.inputs,
            lambda step: progress.say(f"{name}, {step}"),
        )  # fmt: skip
        report(_format(made, folder))
        for layout in layouts:
            progress.say(f"{name}, {layout}")
            report(f"  {layout}: {write_layout(layout, model, entry, folder)}")

    reduce = _open_reduction(options, spec)
    with Progress("export.py") as progress:
        for name in chosen:
            try:
                export(name, reduce)
            except NothingToQuantize as e:
                if not several:
                    raise
                progress.clear()
                print(f"note: {e}; it stays fp32", file=sys.stderr)
                export(name, None)
    return ExitCode.OK


def _list_trained(run: Path) -> list[str]:
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


def _open_reduction(options: argparse.Namespace, spec: ClipSpec) -> Reduce | None:
    """The function that makes a float32 graph smaller, where one was requested."""
    from keras_emo.export.accuracy import halve_checked, open_check, quantize_checked
    from keras_emo.training.data import open_corpus

    if options.quantize != "int8":
        return partial(halve_checked, spec=spec) if options.quantize else None
    if not options.data:
        cause = "int8 is calibrated on the run's clips: name its corpus folder"
        raise UsageError("--data", Reason.BAD_CONFIG, cause)
    if not 0 <= options.max_drop <= 100:
        raise UsageError("--max-drop", Reason.BAD_CONFIG, "expected 0 to 100 points")
    runs, references, cache = options.run, options.reference_run, options.cache
    corpus = open_corpus(options.data, options.corpus, cache, options.skip_bad, options.workers)
    check = open_check(runs, references, corpus, cache, options.workers, options.max_drop)
    return partial(quantize_checked, check=check)


def _format(made: BundleManifest, folder: Path) -> str:
    seconds = ", ".join(f"{step} {s:.1f} s" for step, s in made.export_seconds.items())
    logits = {file: p.max_difference["logits"] for file, p in made.parity.items()}
    parity = ", ".join(f"{file} {difference:.1e}" for file, difference in logits.items())
    graphs = [made.files[file] for file in ("model.onnx", "waveform.onnx") if file in made.files]
    sizes = ", ".join(f"{graph.bytes / 1e6:.1f} MB" for graph in graphs)
    lines = [f"{made.model}: {folder}  {sizes}  {seconds}  largest logit difference: {parity}"]
    accuracy = made.quantization.accuracy if made.quantization else None
    for split, a in (accuracy or {}).items():
        both = f"{100 * a.fp32:.2f} to {100 * a.int8:.2f} %"
        lines.append(f"  {split}: accuracy {both} of {a.n_clips} clips")
    if made.waveform is not None:
        worst = ", ".join(f"{key} {d:.1e}" for key, d in made.waveform.max_difference.items())
        lines.append(f"  waveform.onnx: {worst}")
    return "\n".join(lines)
