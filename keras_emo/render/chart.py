"""The timeline of a recording as inline SVG: probabilities over time, segments below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from keras_emo.inference.results import Segment
from keras_emo.inference.segments import find_stretches
from keras_emo.labels import EMOTIONS
from keras_emo.progress import format_length
from keras_emo.render.html import escape
from keras_emo.render.plot import COLOURS, DARK, average_columns, choose_step

# Layout in the picture's own units
WIDTH, HEIGHT = 960, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 100  # margins of the field of probabilities
BAND_TOP, BAND_HEIGHT = 44, 36  # of the segments, below the field
_COLUMNS = 480
_CHARACTER = 8.0  # width of a letter


def draw_timeline(
    probs: np.ndarray,
    edges_s: np.ndarray,
    segments: Sequence[Segment],
    title: str,
    description: str,
) -> str:
    """An <svg> element that tells its content to screen readers.

    probs: float (n_windows, 7), NaN where a window abstained: hatched. edges_s: as find_edges
    gives them. title, description: plain text.
    """
    duration_s = max(float(edges_s[-1]), 1e-3)
    return "".join((
        f'<svg role="img" aria-labelledby="svg-title svg-desc" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-size="13" fill="currentColor">',
        f'<title id="svg-title">{escape(title)}</title>',
        f'<desc id="svg-desc">{escape(description)}</desc>',
        '<defs><pattern id="hatch" width="8" height="8" patternTransform="rotate(45)" '
        'patternUnits="userSpaceOnUse"><path d="M0 0V8" stroke="#999" stroke-width="2"/>'
        "</pattern></defs>",
        _draw_field(average_columns(probs, edges_s, _COLUMNS)),
        _draw_axes(duration_s),
        _draw_band(segments, duration_s),
        "</svg>",
    ))  # fmt: skip


def color_of(label: str | None) -> str:
    """A label's fill; hatching for no answer."""
    return "url(#hatch)" if label is None else "#{:02x}{:02x}{:02x}".format(*COLOURS[label])


def _draw_field(columns: np.ndarray) -> str:
    """Stacked shares of each label. columns: float (n, 7), NaN where nothing was said."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    shapes = [f'<rect x="{LEFT}" y="{TOP}" width="{width}" height="{height}" fill="url(#hatch)"/>']
    tops = np.cumsum(columns, axis=1)
    tops = np.pad(tops / tops[:, -1:], ((0, 0), (1, 0)))
    for i, name in enumerate(EMOTIONS):
        path = ""
        for first, last in find_stretches(~np.isnan(columns[:, 0])):
            upper = _trace(tops[first:last, i + 1], first, len(columns))
            lower = _trace(tops[first:last, i], first, len(columns))
            path += f"M{'L'.join(upper)}L{'L'.join(reversed(lower))}Z"
        if path:
            shapes.append(f'<path d="{path}" fill="{color_of(name)}"/>')
    return "".join(shapes)


def _trace(levels: np.ndarray, first: int, n_columns: int) -> list[str]:
    """Corners of a stair through levels of 0 to 1, a column each, those between left out."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    steps = [0, *(np.flatnonzero(np.abs(np.diff(levels)) > 1e-4) + 1).tolist(), len(levels)]
    corners = []
    for start, end in pairwise(steps):
        y = TOP + height * (1 - float(levels[start]))
        corners += [f"{LEFT + width * (first + at) / n_columns:.1f} {y:.1f}" for at in (start, end)]
    return corners


def _draw_axes(duration_s: float) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    shapes = [
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" '
        'stroke="currentColor"/>'
    ]
    for percent in (0, 25, 50, 75, 100):
        y = bottom - (bottom - TOP) * percent / 100
        shapes.append(f'<path d="M{LEFT - 5} {y:.1f}H{LEFT}" stroke="currentColor"/>')
        shapes.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for time_s in np.arange(0, duration_s + 1e-6, choose_step(duration_s)):
        x = LEFT + (right - LEFT) * time_s / duration_s
        shapes.append(f'<path d="M{x:.1f} {bottom}v5" stroke="currentColor"/>')
        anchor = "end" if x > right - 12 else "middle"
        shapes.append(
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="{anchor}">{format_length(time_s)}'
            "</text>"
        )
    return "".join(shapes)


def _draw_band(segments: Sequence[Segment], duration_s: float) -> str:
    top, width = HEIGHT - BOTTOM + BAND_TOP, WIDTH - LEFT - RIGHT
    shapes = []
    for segment in segments:
        left, right = (
            LEFT + width * min(t / duration_s, 1.0) for t in (segment.start_s, segment.end_s)
        )
        name = segment.label or "no answer"
        times = f"{format_length(segment.start_s)} to {format_length(segment.end_s)}"
        shapes.append(
            f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 0):.1f}" '
            f'height="{BAND_HEIGHT}" fill="{color_of(segment.label)}" stroke="currentColor">'
            f"<title>{name}, {times}</title></rect>"
        )
        if _CHARACTER * len(name) + 8 <= right - left:
            ink = 'fill="#fff"' if name in DARK else 'fill="#000"'
            if segment.label is None:  # the hatching keeps away from the letters
                ink = 'stroke="var(--paper)" stroke-width="6" paint-order="stroke"'
            shapes.append(
                f'<text x="{(left + right) / 2:.1f}" y="{top + BAND_HEIGHT / 2 + 4:.1f}" '
                f'text-anchor="middle" {ink}>{name}</text>'
            )
    return "".join(shapes)
