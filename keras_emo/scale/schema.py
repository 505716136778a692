"""The table of answers in bulk: its columns, with unit and meaning in each one's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from keras_emo.labels import EMOTIONS

Row = dict[str, Any]  # cells by column; a column that is not there is null


def _column(name: str, kind: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    metadata = {"meaning": meaning, **({"unit": unit} if unit else {})}
    return pa.field(name, kind, metadata=metadata)


SCHEMA = pa.schema(
    [
        _column("path", pa.string(), "the clip, absolute; bytes that are no text as \\xNN"),
        _column("clip_digest", pa.string(), "24 hex digits of its content, as the cache names it"),
        _column("size_bytes", pa.int64(), "of the file, null where there is none", "byte"),
        _column("window", pa.int32(), "number within the clip from 0; null where it failed"),
        _column("start_s", pa.float64(), "begin of the window", "s"),
        _column("end_s", pa.float64(), "end of the window, or of the whole clip", "s"),
        _column("label", pa.string(), "the likeliest emotion; null: no answer"),
        *(_column(e, pa.float32(), f"probability of {e}", "1") for e in EMOTIONS),
        _column("modalities", pa.list_(pa.string()), "what the answer is from: face, voice"),
        _column("states", pa.list_(pa.string()), "why a modality is missing"),
        _column("warnings", pa.list_(pa.string()), "what of the clip could not be read"),
        _column("frames_with_face", pa.int32(), "of a whole clip", "picture"),
        _column("frames_examined", pa.int32(), "of a whole clip", "picture"),
        _column("face_id", pa.int32(), "of a window: whose face, the same number while followed"),
        _column("x_px", pa.float32(), "of a window: left edge of the face in its middle", "px"),
        _column("y_px", pa.float32(), "upper edge", "px"),
        _column("width_px", pa.float32(), "width of the face", "px"),
        _column("height_px", pa.float32(), "height of the face", "px"),
        _column("duration_s", pa.float64(), "of the clip, as far as it was read", "s"),
        _column("damaged_packets", pa.int64(), "of the clip", "packet"),
        _column("missing_s", pa.float64(), "of the clip", "s"),
        _column("reason", pa.string(), "of a clip that failed: the code; null otherwise"),
        _column("cause", pa.string(), "of a clip that failed: in words"),
        _column("bundle", pa.string(), "sha256 of bundle.json"),
        _column("version", pa.string(), "of keras_emo"),
    ]
)


def make_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table with every column of SCHEMA."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)
