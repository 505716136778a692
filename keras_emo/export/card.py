"""The model card of a bundle: what it was trained on, how well it does, what it is not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_emo.data.corpora import known_corpora
from keras_emo.metrics import Metrics, format_percent


def write_card(description: dict[str, Any], path: Path) -> None:
    """README.md of a bundle, with the front matter that model hubs read."""
    corpus = description["corpus"]
    entry = known_corpora().get(corpus["name"])
    license = description["license"]
    hub = license.lower() if license.startswith(("CC", "Apache")) else "other"
    lines = [
        "---",
        f"license: {hub}",
        "tags: [emotion-recognition, audio-visual, onnx, keras]",
        "---",
        f"# {description['name']}",
        "",
        f"`{description['model']}` ({description['preset']} preset, "
        f"{description['parameters']:,} parameters), exported by keras_emo "
        f"{description['versions']['keras_emo']}.",
        "",
        f"It takes {' and '.join(description['modalities'])} of one person speaking and answers "
        f"with one of: {', '.join(description['labels'])}.",
        "",
        "## Data",
        entry.about if entry else corpus["name"],
        f"Training speakers: {_join(corpus['split']['train'])}. "
        f"Validation: {_join(corpus['split']['val'])}. "
        f"Test, never used for a choice: {_join(corpus['split']['test'])}.",
    ]
    if corpus.get("pretrained"):
        lines.append(
            "The face network was first trained on pictures of faces in the wild "
            f"({corpus['pretrained']})."
        )
    if "members" in corpus["split"]:
        n_runs = len(corpus["split"]["members"])
        shared = description.get("soup", [])
        told = f"; of {_join(shared)} it is the mean of their weights" if shared else ""
        lines.append(f"It is the mean of the answers of {n_runs} networks{told}.")
    lines += ["", "## Figures", *format_figures(description["metrics"])]
    lines += _precision(description)
    lines += [
        "",
        "## Limits",
        "- Acted speech in English. It names the expression people would perceive, "
        "not what somebody feels.",
        "- Few speakers, of few origins: expect it to do worse on others. The interval above "
        "resamples speakers.",
        "- Two sentences only, front view, good light, one speaker.",
        "",
        "## Not for",
        "Inferring emotions of people at work or in education is banned in the EU "
        "(Regulation 2024/1689, Article 5(1)(f)); other uses of emotion recognition are high-risk "
        "and people exposed to it must be told (Article 50(3)). Not for decisions about persons.",
        "",
        "## License",
        f"Weights: {license}. The face detector in `detector/` is MTCNN, MIT license, see there.",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def format_figures(metrics: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table: a row a part that has figures."""
    rows = []
    for part in ("val", "test", "folds"):
        if part not in metrics:
            continue
        m = Metrics.from_dict(metrics[part])
        cells = [
            _name_part(part, metrics[part]),
            m.n_speakers,
            m.n_clips,
            m,
            format_percent(m.uar),
            format_percent(m.macro_f1),
        ]
        genders = m.by_gender.items()
        cells.append(", ".join(f"{name} {format_percent(g.accuracy)}" for name, g in genders))
        rows.append("| " + " | ".join(str(c) for c in cells) + " |")
    if not rows:
        return ["None: it was trained on everybody there is, and not tested over folds."]
    return [
        "Per clip, in percent; 95 % interval by resampling speakers.",
        "",
        "| part | speakers | clips | accuracy | UAR | macro-F1 | accuracy by gender |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _name_part(part: str, figures: dict[str, Any]) -> str:
    if "bundles" in figures:
        return (
            f"{figures['n_folds']} bundles made in the same way ({figures['bundles']}), of "
            f"{figures['n_seeds']} networks each, tested on the speakers of one fold that they "
            "never saw"
        )
    if part == "folds":
        return (
            f"networks trained in the same way, {figures['n_seeds']} at a time, each tested on the "
            f"speakers of one of {figures['n_folds']} folds that it never saw"
        )
    return f"{part} (its weight was fitted on these)" if figures.get("fitted") else part


def _precision(description: dict[str, Any]) -> list[str]:
    """What a reader needs of a graph in smaller numbers, and of the one that takes sound."""
    lines = []
    known = description.get("quantization", {})
    if "accuracy" in known:
        fitted = known["calibration"]
        lines += [
            "",
            f"`model.onnx` computes in int8 ({known['method']}), calibrated on {fitted['n_clips']} "
            f"clips of {len(fitted['speakers'])} training speakers. {_whose(description)}"
            "Accuracy per clip of both, in percent:",
            "",
            "| part | clips | float32 | int8 | same answer |",
            "|---|---|---|---|---|",
        ]
        for part, a in known["accuracy"].items():
            cells = [f"{100 * a[k]:.1f}" for k in ("fp32", "int8", "agreement")]
            lines.append(f"| {part} | {a['n_clips']} | {' | '.join(cells)} |")
        if "judges" in known:
            lines += [
                "",
                f"The row val is of {known['judges']['n_networks']} networks trained in the same "
                "way, each made int8 in the same way and scored on speakers that it never saw "
                f"({_join(known['judges']['speakers'])}).",
            ]
    elif description["precision"] == "fp16":
        lines += ["", f"`model.onnx`: {known['method']}."]
    if "waveform" in description:
        given = description["waveform"]["input"]
        lines += [
            "",
            f"`waveform.onnx` is the same network with `waveform` in place of `mfcc`: "
            f"{given['shape'][1]:,} samples, mono, {given['sample_rate_hz']:,} Hz, zeros after "
            "a shorter sound.",
        ]
    return lines


def _whose(description: dict[str, Any]) -> str:
    """Of which arithmetic the table of figures is."""
    precision = description["metrics"].get("folds", {}).get("bundles", "float32")
    return "" if precision == "int8" else f"The table above is of {precision}. "


def _join(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
