"""One HTML page of a table over folds: no other file, no outside host."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from keras_emo.io import write_text
from keras_emo.metrics import Metrics, format_percent
from keras_emo.render.html import encode_image, escape, render_page, render_table
from keras_emo.training.evaluate import shade_confusion

TITLE = "Emotion recognition on speakers never seen in training"


def write_report_page(figures: dict[str, Any], path: Path) -> None:
    """Write the page: figures of every network, then confusion, calibration and speakers of each.

    figures: as training.table.collect makes them.
    """
    parts = [f"<h1>{TITLE}</h1>", _overview(figures)]
    for name, row in figures.items():
        every = row["all"]
        alt = f"Confusion matrix and reliability of {name}"
        parts += [
            f"<h2>{escape(name)}</h2>",
            f'<img alt="{escape(alt)}" src="{_draw(row, name)}">',
            _folds(row),
            render_table("By speaker", ("speaker", "clips", "accuracy %", "UAR %"), [
                (who, part["n_clips"], f"{100 * part['accuracy']:.1f}", f"{100 * part['uar']:.1f}")
                for who, part in every["by_speaker"].items()
            ]),
        ]  # fmt: skip
    write_text(path, render_page(TITLE, parts))


def _overview(figures: dict[str, Any]) -> str:
    rows = []
    for name, row in figures.items():
        every = Metrics.from_dict(row["all"])
        rows.append((
            name,
            f"{100 * row['single_mean']:.1f} ± {100 * row['single_deviation']:.1f}",
            str(every),
            format_percent(every.uar), format_percent(every.macro_f1), f"{every.ece:.3f}",
        ))  # fmt: skip
    heads = ("network", "one seed %", "seeds averaged % (95 %)", "UAR %", "macro-F1 %", "ECE")
    note = (
        "Accuracy per clip. The interval resamples speakers; ± is the deviation over folds and "
        "seeds. ECE: expected calibration error."
    )
    return render_table(note, heads, rows)


def _folds(row: dict[str, Any]) -> str:
    rows = [
        (fold, *(f"{100 * s:.1f}" for s in part["seeds"].values()), f"{100 * part['averaged']:.1f}")
        for fold, part in row["folds"].items()
    ]
    seeds = [f"seed {s}" for s in next(iter(row["folds"].values()))["seeds"]]
    return render_table("Accuracy by fold, %", ("fold", *seeds, "averaged"), rows)


def _draw(row: dict[str, Any], name: str) -> str:
    """Confusion matrix beside the reliability picture, as a data URL of a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    shade_confusion(left, row["all"], f"{name}: clips of all folds")
    bins = row["reliability"]
    right.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    right.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", label=name)
    right.set_xlabel("confidence")
    right.set_ylabel("share that was right")
    right.set_title(f"reliability, ECE {row['all']['ece']:.3f}")
    right.legend()
    right.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return encode_image(image.getvalue(), "png")
