"""The model card of a bundle: its data, its metrics, its limits, its license."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_emo.data.corpora import known_corpora
from keras_emo.inference.manifest import BundleManifest, Evaluation, Quantization
from keras_emo.metrics import format_percent

LIMITS = """
## Limits
- Acted speech in English. It predicts the expression that people would perceive, not what
  somebody feels.
- Few speakers, of few origins: expect lower accuracy on others. The interval above resamples
  speakers.
- Two sentences only, front view, good light, one person speaking.

## Not for
Inferring emotions of people at work or in education is banned in the EU (Regulation 2024/1689,
Article 5(1)(f)); other uses of emotion recognition are high-risk, and the people exposed to it
must be informed (Article 50(3)). Not for decisions about persons.
"""


def write_card(manifest: BundleManifest, path: Path) -> None:
    """README.md of a bundle, with the front matter that model hubs read."""
    license, split = manifest.license, manifest.corpus.split
    hub = license.lower() if license.startswith(("CC", "Apache")) else "other"
    corpus = known_corpora().get(manifest.corpus.name)
    lines = [
        f"---\nlicense: {hub}\ntags: [emotion-recognition, audio-visual, onnx, keras]\n---",
        f"# {manifest.name}\n",
        f"`{manifest.model}` ({manifest.preset} preset, {manifest.parameters:,} parameters), "
        f"exported by keras_emo {manifest.versions['keras_emo']}.\n",
        f"From {' and '.join(manifest.modalities)} of one person speaking it predicts one of: "
        f"{', '.join(manifest.labels)}.\n",
        "## Data",
        corpus.about if corpus else manifest.corpus.name,
        f"Training speakers: {_join(split.train)}. Validation: {_join(split.val)}. "
        f"Test, never used for a choice: {_join(split.test)}.",
    ]
    if manifest.corpus.pretrained:
        lines.append(
            "The face network was first trained on pictures of faces in the wild "
            f"({manifest.corpus.pretrained})."
        )
    if split.members:
        averaged = f"; the weights of {_join(manifest.averaged)} are averaged"
        lines.append(
            f"It is an ensemble: the mean of the logits of {len(split.members)} networks"
            f"{averaged if manifest.averaged else ''}."
        )
    lines += ["\n## Metrics", *format_metrics(manifest.metrics)]
    if manifest.quantization is not None:
        folds = manifest.metrics.get("folds")
        lines += ["", *_describe_quantization(manifest.quantization, folds)]
    if manifest.waveform is not None:
        sound = manifest.waveform.input
        lines.append(
            "\n`waveform.onnx` is the same network with `waveform` instead of `mfcc`: "
            f"{sound.shape[1]:,} samples, mono, {sound.sample_rate_hz:,} Hz, zeros after a "
            "shorter sound."
        )
    lines += [
        LIMITS,
        "## License",
        f"Weights: {license}. The face detector in `detector/` is MTCNN, MIT license, see there.",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def format_metrics(metrics: Mapping[str, Evaluation]) -> list[str]:
    """Lines of a Markdown table with a row for each split, and one for folds."""
    if not metrics:
        return ["None: it was trained on all speakers, and not tested over folds."]
    return [
        "Per clip, in percent; 95 % interval by resampling speakers.\n",
        "| split | speakers | clips | accuracy | UAR | macro-F1 | accuracy by gender |",
        "|---|---|---|---|---|---|---|",
        *(_format_row(split, evaluation) for split, evaluation in metrics.items()),
    ]


def _format_row(split: str, evaluation: Evaluation) -> str:
    title, m = split, evaluation.metrics
    if evaluation.fitted:
        title += " (fitted the fusion)"
    if evaluation.n_folds:
        bundles = f"{evaluation.n_folds} bundles ({evaluation.precision})"
        title = (
            f"{bundles if evaluation.precision else 'networks'} trained in the same way, "
            f"{evaluation.n_seeds} networks averaged, each tested on the held-out speakers of "
            f"one of {evaluation.n_folds} folds"
        )
    genders = [f"{name} {format_percent(g.accuracy)}" for name, g in m.by_gender.items()]
    scores = [m.format(), format_percent(m.uar), format_percent(m.macro_f1)]
    cells = [title, str(m.n_speakers), str(m.n_clips), *scores, ", ".join(genders)]
    return f"| {' | '.join(cells)} |"


def _describe_quantization(made: Quantization, folds: Evaluation | None) -> list[str]:
    if made.accuracy is None or made.calibration is None:
        return [f"`model.onnx`: {made.method}."]
    lines = [
        f"`model.onnx` computes in int8 ({made.method}), calibrated on "
        f"{made.calibration.n_clips} clips of {len(made.calibration.speakers)} training speakers."
    ]
    scored = (folds and folds.precision) or "float32"
    if scored != "int8":
        lines.append(f"The table above is of {scored}.")
    lines += [
        "Accuracy per clip, in percent:\n",
        "| split | clips | float32 | int8 | same prediction |",
        "|---|---|---|---|---|",
    ]
    for split, a in made.accuracy.items():
        cells = [format_percent(value) for value in (a.fp32, a.int8, a.agreement)]
        lines.append(f"| {split} | {a.n_clips} | {' | '.join(cells)} |")
    if made.references is not None:
        lines.append(
            f"\nThe row val is of {made.references.n_networks} reference models trained in the "
            "same way, each quantized in the same way and scored on speakers held out from its "
            f"training ({_join(made.references.speakers)})."
        )
    return lines


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
