"""A decoded video frame as the array that is looked at, and how large a picture says it is."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_rgb(frame: Any, max_px: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
    """RGB uint8 (height, width, 3), upright whatever the phone's orientation, and its scale.

    frame: av.VideoFrame. A longer side over max_px is shrunk to it while converting; 0: none is.
    scale: px of the frame, upright, across and down, that one px of the array stands for.
    """
    shrink = min(1.0, max_px / max(frame.width, frame.height)) if max_px else 1.0
    if shrink < 1.0:
        width, height = (max(1, round(n * shrink)) for n in (frame.width, frame.height))
        rgb = frame.to_ndarray(
            format="rgb24", width=width, height=height, interpolation="AREA", threads=1
        )
    else:
        rgb = frame.to_ndarray(format="rgb24", threads=1)
    scale = frame.width / rgb.shape[1], frame.height / rgb.shape[0]
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    if turns:
        rgb = np.ascontiguousarray(np.rot90(rgb, turns))
    return rgb, scale[::-1] if turns % 2 else scale


def read_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in px that a PNG or JPEG declares, None where it is neither or cut short.

    For limits that hold before memory is taken: OpenCV decodes up to 2**30 pixels, and reserves
    whatever length a part of a PNG claims.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png_size(data)
    return _read_jpeg_size(data) if data[:2] == b"\xff\xd8" else None


def _read_png_size(data: bytes) -> tuple[int, int] | None:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IEND" and not length:
            return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        at += 12 + length
    return None


def _read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # filling, which decoders pass over
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame starts
            height, width = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (5, 7))
            return width, height
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
