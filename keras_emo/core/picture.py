"""A decoded video frame as the array that is looked at."""

from __future__ import annotations

import numpy as np


def to_rgb(frame, max_px: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
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
