"""A line for each network of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_emo.data.splits import SPLIT_FILE, check_scored, read_split
from keras_emo.io import naming_content, read_record, write_json, write_text
from keras_emo.metrics import Metrics, format_percent
from keras_emo.networks import MODELS


def summarize(folder: Path) -> dict[str, Any]:
    """summary.json and summary.md: a line for each network scored so far.

    Raises UsageError for a split.json or a metrics.json that is damaged.
    """
    rows: dict[str, Any] = {}
    split = read_split(folder / SPLIT_FILE)
    for name in MODELS:
        path = folder / name / "metrics.json"
        if path.exists():
            rows[name] = read_record(path)
            with naming_content(path, f"delete {name}/ and train it again"):
                check_scored(rows[name], split)
                format_summary({name: rows[name]})
    write_json(folder / "summary.json", rows)
    text = format_summary(rows)
    write_text(folder / "summary.md", text)
    return rows


def format_summary(rows: dict[str, Any]) -> str:
    """A Markdown table: accuracy with its interval over speakers, UAR, macro-F1, size, time."""
    lines = [
        "| network | part | accuracy % (95 %) | UAR % | macro-F1 % | parameters | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        for part in ("val", "test"):
            if part not in row:
                continue
            metrics = Metrics.from_dict(row[part])
            lines.append(
                f"| {name} | {_name_part(part, row)} "
                f"| {metrics} "
                f"| {format_percent(metrics.uar)} | {format_percent(metrics.macro_f1)} "
                f"| {row['parameters']:,} | {row['minutes']:.1f} |"
            )
    return "\n".join(lines) + "\n"


def _name_part(part: str, row: dict[str, Any]) -> str:
    return f"{part}, fitted" if part == "val" and row.get("fitted_on_val") else part
