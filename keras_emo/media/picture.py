"""A decoded picture as a Frame, and the size that a picture file declares."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from keras_emo.media.recording import Frame


def convert_frame(picture: Any, time_s: float, max_px: int = 0) -> Frame:
    """The Frame of an av.VideoFrame, upright for any orientation of the phone.

    A longer side over max_px is shrunk to it while converting; 0: none is.
    """
    size = _fit(picture.width, picture.height, max_px)
    if size is not None:
        rgb = picture.to_ndarray(
            format="rgb24", width=size[0], height=size[1], interpolation="AREA", threads=1
        )
    else:
        rgb = picture.to_ndarray(format="rgb24", threads=1)
    across, down = picture.width / rgb.shape[1], picture.height / rgb.shape[0]
    turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
    if turns:
        rgb = np.ascontiguousarray(np.rot90(rgb, turns))
    return Frame(rgb, time_s, (down, across) if turns % 2 else (across, down))


def shrink_frame(rgb: np.ndarray, time_s: float, max_px: int = 0) -> Frame:
    """The Frame of an array, uint8 (height, width, 3); max_px: as in convert_frame."""
    height, width = rgb.shape[:2]
    size = _fit(width, height, max_px)
    if size is None:
        return Frame(rgb, time_s)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return Frame(small, time_s, (width / size[0], height / size[1]))


def _fit(width: int, height: int, max_px: int) -> tuple[int, int] | None:
    """(width, height) shrunk to a longer side of max_px; None where nothing is to be shrunk."""
    factor = max_px / max(width, height)
    if not max_px or factor >= 1:
        return None
    return max(1, round(width * factor)), max(1, round(height * factor))


def read_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in px that a PNG or JPEG declares, None where it is neither or cut short.

    For limits that hold before memory is reserved: OpenCV decodes up to 2**30 pixels, and reserves
    any length that a chunk of a PNG declares.
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
