"""Scores over folds as one HTML page that loads nothing else."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_emo.io import write_text
from keras_emo.metrics import format_percent
from keras_emo.render.html import encode_image, escape, render_page, render_table
from keras_emo.training.evaluate import shade_confusion

if TYPE_CHECKING:
    from keras_emo.training.table import NetworkScore

TITLE = "Emotion recognition on held-out speakers"


def write_report_page(scores: Mapping[str, NetworkScore], path: Path) -> None:
    """Write the page: scores of all networks, then confusion, calibration and speakers of each."""
    sections = [f"<h1>{TITLE}</h1>", _overview(scores)]
    for name, score in scores.items():
        alt = f"Confusion matrix and reliability of {name}"
        sections += [
            f"<h2>{escape(name)}</h2>",
            f'<img alt="{escape(alt)}" src="{_draw(score, name)}">',
            _folds(score),
            render_table("By speaker", ("speaker", "clips", "accuracy %", "UAR %"), [
                (who, group.n_clips, format_percent(group.accuracy), format_percent(group.uar))
                for who, group in score.metrics.by_speaker.items()
            ]),
        ]  # fmt: skip
    write_text(path, render_page(TITLE, sections))


def _overview(scores: Mapping[str, NetworkScore]) -> str:
    rows = []
    for name, score in scores.items():
        every = score.metrics
        rows.append((
            name, format_spread(score.singles), str(every), format_percent(every.uar),
            format_percent(every.macro_f1), f"{every.ece:.3f}",
        ))  # fmt: skip
    heads = ("network", "one seed %", "seeds averaged % (95 %)", "UAR %", "macro-F1 %", "ECE")
    note = (
        "Accuracy per clip. The interval resamples speakers; ± is the deviation over folds and "
        "seeds. ECE: expected calibration error."
    )
    return render_table(note, heads, rows)


def _folds(score: NetworkScore) -> str:
    rows = [
        (name, *map(format_percent, fold.seeds.values()), format_percent(fold.averaged))
        for name, fold in score.folds.items()
    ]
    seeds = [f"seed {s}" for s in next(iter(score.folds.values())).seeds]
    return render_table("Accuracy by fold, %", ("fold", *seeds, "averaged"), rows)


def _draw(score: NetworkScore, name: str) -> str:
    """Confusion matrix beside the reliability diagram, as a data URL of a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    shade_confusion(left, score.metrics, f"{name}: clips of all folds")
    bins = score.reliability
    right.plot([0, 1], [0, 1], color="gray", linestyle="--", label="perfect")
    right.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", label=name)
    right.set_xlabel("confidence")
    right.set_ylabel("accuracy")
    right.set_title(f"reliability, ECE {score.metrics.ece:.3f}")
    right.legend()
    right.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return encode_image(image.getvalue(), "png")


def format_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent, as ``81.8 ± 2.1``."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"
