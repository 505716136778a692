"""The options of export.py."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_emo.core.command import require, run_command
from keras_emo.core.errors import ExitCode, Reason, UsageError
from keras_emo.training.run import read_json


def build_parser() -> argparse.ArgumentParser:
    """Options of export.py."""
    parser = argparse.ArgumentParser(
        prog="export.py",
        description="Turn trained networks into bundles that onnxruntime serves. A file that "
        "does not say what Keras says is not written.",
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of train.py")
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run export.py; returns the exit code."""
    options = build_parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # on a GPU an LSTM becomes an operator ONNX lacks
    return run_command(lambda: _export(options))


def _export(options: argparse.Namespace) -> int:
    require("keras", "tensorflow", "tf2onnx", "onnx")
    asked = _read_run(options.run)
    names = [options.model]
    if options.model == "all":
        names = [p.parent.name for p in sorted(options.run.glob("*/model.keras"))]
        names = [n for n in names if n != "pretrain"]
        if not names:
            raise UsageError(options.run, Reason.MISSING_STAGE, "no trained network in this run")
    formats = tuple(f.strip() for f in options.formats.split(",") if f.strip())
    from keras_emo.core.spec import ClipSpec
    from keras_emo.exporting.bundle import FORMATS, export_bundle
    from keras_emo.models import MODELS, build_model

    unknown = [f for f in formats if f not in FORMATS] + [n for n in names if n not in MODELS]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join((*FORMATS, *MODELS))}"
        raise UsageError("options", Reason.BAD_CONFIG, cause)
    for name in names:
        weights = options.run / name / "model.keras"
        if not weights.is_file():
            raise UsageError(weights, Reason.MISSING_STAGE, f"{name} has not been trained")
        config = asked["config"]
        spec = ClipSpec.from_dict(config["clip"])
        model = build_model(name, config["preset"], config["model"], spec)
        model.load_weights(weights)
        folder = options.out / name if options.model == "all" else options.out
        figures = export_bundle(
            model,
            MODELS[name],
            spec,
            _collect_facts(options.run, name, asked),
            folder,
            formats,
        )
        print(_format(name, folder, figures), flush=True)
    return ExitCode.OK


def _read_run(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    if not path.is_file():
        raise UsageError(run, Reason.NOT_FOUND, "not a run folder of train.py: no config.json")
    return read_json(path)


def _collect_facts(run: Path, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    split = read_json(run / "split.json")
    metrics = read_json(run / name / "metrics.json")
    keep = ("n_clips", "n_speakers", "n_abstained", "accuracy", "uar", "macro_f1",
            "interval_95", "ece", "recall", "by_gender")  # fmt: skip
    parts = {
        part: {k: metrics[part][k] for k in keep if k in metrics[part]}
        for part in ("val", "test")
        if part in metrics
    }
    corpus: dict[str, Any] = {"name": asked["corpus"], "split": split, "clips": asked["clips"]}
    visual = run / "visual_alexnet" / "metrics.json"
    if not name.startswith("audio") and visual.is_file():
        corpus["pretrained"] = read_json(visual).get("pretrained")
    if metrics.get("fitted_on_val"):
        parts["val"]["fitted"] = True
    return {"preset": asked["config"]["preset"], "metrics": parts, "corpus": corpus}


def _format(name: str, folder: Path, figures: dict[str, Any]) -> str:
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in figures["seconds"].items())
    worst = {k: v["max_difference"]["logits"] for k, v in figures["parity"].items()}
    parity = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
    size_mb = figures["bytes"]["model.onnx"] / 1e6
    return f"{name}: {folder}  {size_mb:.1f} MB  {seconds}  largest logit difference: {parity}"
