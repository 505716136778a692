"""How long a recording says its streams are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# FFmpeg guesses the length of these from their bit rate: nothing to hold a file to.
UNSURE_OF_LENGTH = ("mp3", "ogg")


def read_lengths(
    path: Path, container: Any, streams: Sequence[Any], ends_s: dict[str, float]
) -> dict[str, float | None]:
    """Declared length in s of each kind of stream, None where a file does not say.

    ends_s: how far each stream was read; a length of the whole file is the longest one's.
    """
    if container.format.name in UNSURE_OF_LENGTH:
        return {}
    declared = {s.type: read_length(s) for s in streams}
    if container.format.name == "wav":
        declared["audio"] = _read_wav_length(path, next(s for s in streams if s.type == "audio"))
    if None in declared.values() and len(streams) == len(container.streams):
        longest = max(declared, key=lambda kind: ends_s.get(kind, 0.0))
        declared[longest] = declared[longest] or (container.duration or 0) / 1e6
    return declared


def read_length(stream: Any) -> float | None:
    return float(stream.duration * stream.time_base) if stream.duration else None


def _read_wav_length(path: Path, stream: Any) -> float | None:
    """By the data chunk's own size, which FFmpeg cuts to the file's; None where it is unset."""
    with open(path, "rb") as f:
        f.seek(12)
        while len(head := f.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                streamed = size == 0 or size >= 0xFFFFFF00  # written before the end was known
                n_bytes_per_s = (stream.codec_context.bit_rate or 0) / 8
                return None if streamed or not n_bytes_per_s else size / n_bytes_per_s
            f.seek(size + size % 2, os.SEEK_CUR)
    return None
