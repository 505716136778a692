"""Edit lists of an mp4: whether FFmpeg needs them to read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

MIN_INDEX_BYTES = 1 << 20  # of a smaller index, some ten minutes, nothing is to be gained
MAX_START_S = 0.2  # the delay of codecs is less
TOLERANCE_S = 0.2
MAX_BOXES = 1000  # looked at side by side; fragments and forged files have millions
_HEAD = 8  # bytes of a box's size and name
_WHOLE_SPEED = 1 << 16

Box = tuple[bytes, int, int]  # name, first byte of its content, byte after it


def shows_all(path: Path) -> bool:
    """Whether an mp4 with a large index is shown from the first picture to the last.

    As nearly every one is: no track has more than one edit, and that one is all of it but the
    delay of the codec. FFmpeg then needs no second index, which it makes for others and which
    would be half of the memory of reading hours. False for other files and for those in fragments.
    ISO/IEC 14496-12, 8.6.6.
    """
    with open(path, "rb") as f:
        whole = (b"", 0, os.fstat(f.fileno()).st_size)
        index = _find(f, whole, b"moov")  # the first one, as FFmpeg takes it
        if index is None or index[2] - index[1] < MIN_INDEX_BYTES:
            return False
        header = _find(f, index, b"mvhd")
        if header is None or not _find(f, whole, b"ftyp") or _find(f, index, b"mvex"):
            return False
        per_s = _read_clock(f, header)[0]
        tracks = [b for b in _list_boxes(f, *index[1:]) if b[0] == b"trak"]
        return all(_shows_track(f, track, per_s) for track in tracks)


def _shows_track(f: BinaryIO, track: Box, movie_per_s: int) -> bool:
    edits = _find(f, track, b"edts", b"elst")
    if edits is None:
        return True
    media = _find(f, track, b"mdia", b"mdhd")
    if media is None:
        return False
    wide, count = _read_version(f, edits)
    if count == 0:
        return True
    size = 8 if wide else 4
    data = f.read(2 * size + 4)
    if count != 1 or len(data) < 2 * size + 4:
        return False
    shown = int.from_bytes(data[:size])
    start = int.from_bytes(data[size : 2 * size], signed=True)  # -1: a pause
    per_s, length = _read_clock(f, media)
    if not per_s or not movie_per_s or int.from_bytes(data[2 * size :]) != _WHOLE_SPEED:
        return False
    rest_s = (length - start) / per_s - shown / movie_per_s
    return 0 <= start / per_s <= MAX_START_S and (shown == 0 or rest_s <= TOLERANCE_S)


def _list_boxes(f: BinaryIO, first: int, end: int) -> Iterator[Box]:
    """The first MAX_BOXES boxes that lie side by side there, as far as they are whole."""
    return islice(_walk_boxes(f, first, end), MAX_BOXES)


def _walk_boxes(f: BinaryIO, first: int, end: int) -> Iterator[Box]:
    while first + _HEAD <= end:
        f.seek(first)
        head = f.read(_HEAD)
        size, name, content = int.from_bytes(head[:4]), head[4:], first + _HEAD
        if size == 1:  # 64 bits follow
            size, content = int.from_bytes(f.read(8)), content + 8
        last = end if size == 0 else first + size
        if not content <= last <= end:
            return
        yield name, content, last
        first = last


def _find(f: BinaryIO, box: Box, *names: bytes) -> Box | None:
    for name in names:
        inside = _list_boxes(f, box[1], box[2])
        found = next((b for b in inside if b[0] == name), None)
        if found is None:
            return None
        box = found
    return box


def _read_version(f: BinaryIO, box: Box) -> tuple[bool, int]:
    """Whether numbers have 64 bits, and the first one of 32."""
    f.seek(box[1])
    data = f.read(8)
    return data[:1] == b"\x01", int.from_bytes(data[4:])


def _read_clock(f: BinaryIO, box: Box) -> tuple[int, int]:
    """Ticks a second and length in ticks, of mvhd or mdhd."""
    wide, _ = _read_version(f, box)
    f.seek(box[1] + 4 + (16 if wide else 8))  # past the times of making and change
    data = f.read(12 if wide else 8)
    return int.from_bytes(data[:4]), int.from_bytes(data[4:])
