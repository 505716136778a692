"""The chart of a timeline: probabilities over time and segments, drawn with OpenCV as a PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from keras_emo.inference.results import Segment, Timeline
from keras_emo.inference.segments import find_edges, stack_probs
from keras_emo.io import replace_file
from keras_emo.labels import EMOTIONS
from keras_emo.render.writers import NOTHING

Color = tuple[int, int, int]

# RGB. Okabe and Ito's palette, which people with any kind of color vision can tell apart.
COLORS: dict[str, Color] = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 228, 66),
    "neutral": (187, 187, 187),
    "sad": (0, 114, 178),
    "surprise": (86, 180, 233),
}
DARK = ("sad", "angry", "disgust")  # these need light letters
INK, FAINT, PAPER = (30, 30, 30), (225, 225, 225), (255, 255, 255)
# Layout, px
WIDTH, HEIGHT = 1600, 640
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 60, 150  # margins of the field of probabilities
BAND_TOP, BAND_HEIGHT = 50, 44  # of the segments, below the field
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_chart(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Write a timeline's chart as a PNG file. Raises EnvironmentFailure."""
    with replace_file(Path(path)) as temporary:
        temporary.write_bytes(encode_chart(timeline))


def encode_chart(timeline: Timeline) -> bytes:
    """draw_chart's picture as PNG."""
    bgr = cv2.cvtColor(draw_chart(timeline), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr)[1].tobytes()


def draw_chart(timeline: Timeline) -> np.ndarray:
    """Seven probabilities over time, stacked, and the segments below; RGB uint8 (h, w, 3).

    Where windows abstain the field is hatched.
    """
    picture = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    duration_s = max(timeline.end_s, 1e-3)
    probs = stack_probs([w.probs for w in timeline.windows])
    edges_s = find_edges(len(probs), timeline.window_s, timeline.hop_s, duration_s)
    _fill_field(picture[TOP : HEIGHT - BOTTOM, LEFT : WIDTH - RIGHT], probs, edges_s)
    _draw_axes(picture, duration_s)
    _draw_band(picture, timeline.segments, duration_s)
    _draw_legend(picture)
    title = Path(timeline.path).name.encode("ascii", "replace").decode()  # all the font has
    write_text(picture, title, (LEFT, 36), 0.7)
    return picture


def write_text(
    picture: np.ndarray,
    text: str,
    at: tuple[int, int],
    scale: float = 0.5,
    color: Color = INK,
    thickness: int = 1,
) -> None:
    """Write text on RGB uint8; at: its lower left corner."""
    cv2.putText(picture, text, at, _FONT, scale, color, thickness, cv2.LINE_AA)


def _measure(text: str, scale: float = 0.5) -> int:
    """Width of a text in px."""
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def _hatch(field: np.ndarray) -> None:
    height, width = field.shape[:2]
    field[np.add.outer(np.arange(height), np.arange(width)) % 12 < 2] = FAINT


def _fill_field(field: np.ndarray, probs: np.ndarray, edges_s: np.ndarray) -> None:
    """Color each column by the mean over the windows that represent its time."""
    height, width = field.shape[:2]
    colors = np.array([COLORS[name] for name in EMOTIONS], np.uint8)
    _hatch(field)
    levels = (np.arange(height)[::-1] + 0.5) / height  # bottom up
    for x, column in enumerate(average_columns(probs, edges_s, width)):
        if not np.isnan(column[0]):
            tops = np.cumsum(column)
            index = np.searchsorted(tops / tops[-1], levels)
            field[:, x] = colors[np.minimum(index, len(colors) - 1)]


def average_columns(probs: np.ndarray, edges_s: np.ndarray, n_columns: int) -> np.ndarray:
    """Means over the windows that represent each of n_columns equal stretches of time.

    probs: float (n_windows, 7), edges_s (n_windows + 1,), see find_edges. Returns float64
    (n_columns, 7), NaN where every window of a stretch abstained.
    """
    columns_s = np.linspace(0, edges_s[-1], n_columns + 1)
    first = np.clip(np.searchsorted(edges_s, columns_s[:-1], "right") - 1, 0, len(probs) - 1)
    last = np.clip(np.searchsorted(edges_s, columns_s[1:], "left"), first + 1, len(probs))
    means = np.full((n_columns, probs.shape[1]), np.nan)
    for x in range(n_columns):
        here = probs[first[x] : last[x]]
        here = here[~np.isnan(here[:, 0])]
        if len(here):
            means[x] = here.mean(axis=0)
    return means


def _draw_axes(picture: np.ndarray, duration_s: float) -> None:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for percent in (0, 25, 50, 75, 100):
        y = bottom - round((bottom - TOP) * percent / 100)
        cv2.line(picture, (LEFT - 6, y), (LEFT, y), INK, 1)
        text = f"{percent} %"
        write_text(picture, text, (LEFT - 12 - _measure(text, 0.45), y + 5), 0.45)
    cv2.rectangle(picture, (LEFT - 1, TOP - 1), (right, bottom), INK, 1)
    step_s = next((s for s in _STEPS_S if duration_s / s <= 12), _STEPS_S[-1])
    for time_s in np.arange(0, duration_s + 1e-6, step_s):
        x = LEFT + round((right - LEFT) * time_s / duration_s)
        cv2.line(picture, (x, bottom), (x, bottom + 6), INK, 1)
        minutes, seconds = divmod(round(time_s), 60)
        text = f"{minutes}:{seconds:02d}"
        write_text(picture, text, (x - _measure(text) // 2, bottom + 24))
    write_text(picture, "min:s", (right + 30, bottom + 24), 0.45)


def _draw_band(picture: np.ndarray, segments: Sequence[Segment], duration_s: float) -> None:
    top, width = HEIGHT - BOTTOM + BAND_TOP, WIDTH - RIGHT - LEFT
    for segment in segments:
        left, right = (
            LEFT + round(width * min(t / duration_s, 1.0)) for t in (segment.start_s, segment.end_s)
        )
        if right <= left:
            continue
        picture[top : top + BAND_HEIGHT, left:right] = COLORS.get(segment.label or "", PAPER)
        text = segment.label or NOTHING
        if _measure(text) + 8 <= right - left:
            at = ((left + right - _measure(text)) // 2, top + BAND_HEIGHT // 2 + 5)
            write_text(picture, text, at, color=PAPER if segment.label in DARK else INK)
        cv2.line(picture, (left, top), (left, top + BAND_HEIGHT - 1), INK, 1)
    cv2.rectangle(picture, (LEFT - 1, top - 1), (LEFT + width, top + BAND_HEIGHT), INK, 1)
    write_text(picture, "segments", (LEFT + width + 12, top + BAND_HEIGHT // 2 + 5))


def _draw_legend(picture: np.ndarray) -> None:
    """In the order of the stack, from its top."""
    left = WIDTH - RIGHT + 30
    for i, name in enumerate((*reversed(EMOTIONS), NOTHING)):
        y = TOP + 10 + 40 * i
        patch = picture[y : y + 27, left : left + 27]
        if name in COLORS:
            patch[:] = COLORS[name]
        else:
            _hatch(patch)
        cv2.rectangle(picture, (left, y), (left + 26, y + 26), INK, 1)
        write_text(picture, name, (left + 38, y + 19), 0.55)
