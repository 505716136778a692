"""The model card of a bundle: its data, its metrics, its limits, its license."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_emo.data.corpora import known_corpora
from keras_emo.export.accuracy import Quantization
from keras_emo.export.provenance import Provenance
from keras_emo.export.waveform import Waveform
from keras_emo.metrics import Metrics, format_percent

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


def write_card(
    description: dict[str, Any],
    provenance: Provenance,
    quantization: Quantization | None,
    waveform: Waveform | None,
    path: Path,
) -> None:
    """README.md of a bundle, with the front matter that model hubs read."""
    license = description["licence"]
    hub = license.lower() if license.startswith(("CC", "Apache")) else "other"
    corpus = known_corpora().get(provenance.corpus)
    split = provenance.split
    lines = [
        "---",
        f"license: {hub}",
        "tags: [emotion-recognition, audio-visual, onnx, keras]",
        "---",
        f"# {description['name']}",
        "",
        f"`{description['model']}` ({provenance.preset} preset, "
        f"{description['parameters']:,} parameters), exported by keras_emo "
        f"{description['versions']['keras_emo']}.",
        "",
        f"From {' and '.join(description['modalities'])} of one person speaking it predicts one "
        f"of: {', '.join(description['labels'])}.",
        "",
        "## Data",
        corpus.about if corpus else provenance.corpus,
        f"Training speakers: {_join(split.train)}. Validation: {_join(split.val)}. "
        f"Test, never used for a choice: {_join(split.test)}.",
    ]
    if provenance.pretrained:
        lines.append(
            "The face network was first trained on pictures of faces in the wild "
            f"({provenance.pretrained})."
        )
    if provenance.run_splits:
        averaged = ""
        if provenance.averaged:
            averaged = f"; the weights of {_join(provenance.averaged)} are averaged"
        lines.append(
            f"It is an ensemble: the mean of the logits of {len(provenance.run_splits)} "
            f"networks{averaged}."
        )
    lines += ["", "## Metrics", *format_metrics(provenance)]
    if quantization is not None:
        lines += ["", *_describe_quantization(quantization, provenance)]
    if waveform is not None:
        sound = waveform.spec
        lines += [
            "",
            "`waveform.onnx` is the same network with `waveform` instead of `mfcc`: "
            f"{sound.n_samples:,} samples, mono, {sound.sample_rate_hz:,} Hz, zeros after a "
            "shorter sound.",
        ]
    lines += [
        LIMITS,
        "## License",
        f"Weights: {license}. The face detector in `detector/` is MTCNN, MIT license, see there.",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def format_metrics(provenance: Provenance) -> list[str]:
    """Lines of a Markdown table with a row for each split, and one for folds."""
    rows: list[tuple[str, Metrics]] = []
    for split, metrics in provenance.metrics.items():
        fitted = split == "val" and provenance.fitted
        rows.append((f"{split} (fitted the fusion)" if fitted else split, metrics))
    if folds := provenance.folds:
        made = f"{folds.n_folds} bundles ({folds.precision})" if folds.precision else "networks"
        title = (
            f"{made} trained in the same way, {folds.n_seeds} networks averaged, each tested on "
            f"the held-out speakers of one of {folds.n_folds} folds"
        )
        rows.append((title, folds.metrics))
    if not rows:
        return ["None: it was trained on all speakers, and not tested over folds."]
    return [
        "Per clip, in percent; 95 % interval by resampling speakers.",
        "",
        "| split | speakers | clips | accuracy | UAR | macro-F1 | accuracy by gender |",
        "|---|---|---|---|---|---|---|",
        *(_format_row(title, metrics) for title, metrics in rows),
    ]


def _format_row(title: str, m: Metrics) -> str:
    genders = [f"{name} {format_percent(g.accuracy)}" for name, g in m.by_gender.items()]
    scores = [m.format(), format_percent(m.uar), format_percent(m.macro_f1)]
    cells = [title, str(m.n_speakers), str(m.n_clips), *scores, ", ".join(genders)]
    return f"| {' | '.join(cells)} |"


def _describe_quantization(made: Quantization, provenance: Provenance) -> list[str]:
    if not made.accuracy:
        return [f"`model.onnx`: {made.method}."]
    lines = [
        f"`model.onnx` computes in int8 ({made.method}), calibrated on {made.n_clips} clips of "
        f"{len(made.speakers)} training speakers."
    ]
    scored = (provenance.folds and provenance.folds.precision) or "float32"
    if scored != "int8":
        lines.append(f"The table above is of {scored}.")
    lines += [
        "Accuracy per clip, in percent:",
        "",
        "| split | clips | float32 | int8 | same prediction |",
        "|---|---|---|---|---|",
    ]
    for split, a in made.accuracy.items():
        cells = [format_percent(value) for value in (a.fp32, a.int8, a.agreement)]
        lines.append(f"| {split} | {a.n_clips} | {' | '.join(cells)} |")
    if made.n_references:
        lines += [
            "",
            f"The row val is of {made.n_references} reference models trained in the same way, "
            "each quantized in the same way and scored on speakers held out from its training "
            f"({_join(made.reference_speakers)}).",
        ]
    return lines


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
