"""Draws the picture of the README from a clip and its prediction.

    make demo && .venv/bin/python docs/picture.py .demo/cache/builtin/Actor_08/01-01-05-02-01-01-08.mp4 .demo/bundle docs/picture.svg

Take a clip of the built-in corpus: the picture then shows nobody.
"""  # noqa: E501

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

import keras_emo
from keras_emo.features.clip import ClipInputs
from keras_emo.media.reader import read_media
from keras_emo.render.chart import COLORS

WIDTH, HEIGHT = 920, 300
FRAME_PX, CROP_PX, N_CROPS = 220, 64, 4
INK, PALE = "#222", "#888"


def draw(clip: Path, bundle: Path) -> str:
    """An <svg> of a clip's way: picture and sound, crops and MFCC, seven probabilities."""
    model = keras_emo.load(bundle)
    inputs, media = model.prepare(clip), read_media(clip, frame_rate_hz=1.0)
    prediction = model.predict(clip)
    if inputs.face is None or inputs.mfcc is None or media.waveform is None:
        raise SystemExit("error: take a clip with a face and a voice")
    label = f"{prediction.label}, {100 * prediction.confidence:.0f} %"
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="13">',
        f"<title>A drawn face and a synthetic voice become seven probabilities: {label}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        draw_frame(media.frames[0].rgb, inputs.boxes[0]),
        draw_sound(media.waveform, 20, 200, FRAME_PX, 60),
        draw_inputs(inputs),
        draw_network(),
        draw_probs(prediction.probs),
        "</svg>\n",
    ))  # fmt: skip


def draw_frame(rgb: np.ndarray, box: np.ndarray) -> str:
    """A frame with its face framed."""
    scale = FRAME_PX / rgb.shape[1]
    x, y, width, height = (float(v) * scale for v in box)
    return (
        show(rgb, 20, 30, FRAME_PX, round(rgb.shape[0] * scale))
        + f'<rect x="{20 + x:.0f}" y="{30 + y:.0f}" width="{width:.0f}" height="{height:.0f}" '
        'fill="none" stroke="#fff" stroke-width="2"/>' + write("a clip: picture and sound", 20, 20)
    )


def draw_sound(samples: np.ndarray, x: int, y: int, width: int, height: int) -> str:
    """Loudness over time, mirrored."""
    peaks = np.array([np.abs(part).max() for part in np.array_split(samples, width // 2)])
    peaks = peaks / peaks.max() * height / 2
    middle = y + height / 2
    bars = (f"M{x + 2 * i} {middle - p:.1f}V{middle + p:.1f}" for i, p in enumerate(peaks))
    return f'<path d="{"".join(bars)}" stroke="{PALE}" stroke-width="1.4"/>'


def draw_inputs(inputs: ClipInputs) -> str:
    """Some crops, and the MFCC as a picture."""
    index = np.linspace(0, len(inputs.face) - 1, N_CROPS).round().astype(int)
    step = CROP_PX // 2
    shapes = [
        show(inputs.face[k], 290 + step * i, 70, CROP_PX, CROP_PX) for i, k in enumerate(index)
    ]
    mfcc = inputs.mfcc[1:] - inputs.mfcc[1:].mean(axis=1, keepdims=True)
    mfcc = mfcc / mfcc.std(axis=1, keepdims=True).clip(1e-6)  # each coefficient at its own scale
    grey = np.clip(mfcc * 50 + 110, 0, 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    width = step * (N_CROPS - 1) + CROP_PX
    shapes.append(show(colors, 290, 200, width, 60))
    shapes += [write("the face, 3 times a second", 290, 60), write("the voice: MFCC", 290, 190)]
    shapes += [
        arrow(250, 102, 280),
        arrow(250, 230, 280),
        arrow(460, 102, 490),
        arrow(460, 230, 490),
    ]
    return "".join(shapes)


def draw_network() -> str:
    """One network a modality, and their fusion."""
    boxes = (
        (495, 82, 96, 40, "network"),
        (495, 210, 96, 40, "network"),
        (621, 82, 50, 168, "fusion"),
    )
    shapes = [arrow(595, 102, 616), arrow(595, 230, 616), arrow(675, 166, 700)]
    for x, y, width, height, name in boxes:
        shapes.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#eef" '
            f'stroke="{PALE}"/>' + write(name, x + width / 2, y + height / 2 + 4, "middle")
        )
    return "".join(shapes)


def draw_probs(probs: Mapping[str, float]) -> str:
    """A bar per emotion, in the colors of the charts."""
    shapes = []
    for i, (name, prob) in enumerate(probs.items()):
        y = 48 + 34 * i
        shapes.append(
            write(name, 770, y + 15, "end")
            + f'<rect x="778" y="{y}" width="{max(1, 86 * prob):.0f}" height="20" '
            f'fill="rgb{COLORS[name]}"/>' + write(f"{100 * prob:.0f} %", 910, y + 15, "end")
        )
    return "".join(shapes)


def show(rgb: np.ndarray, x: float, y: float, width: int, height: int) -> str:
    """A picture, kept inside the SVG as a JPEG of twice its size."""
    size = min(rgb.shape[1], 2 * width), min(rgb.shape[0], 2 * height)
    small = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return (
        f'<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{base64.b64encode(data).decode()}"/>'
    )


def write(text: str, x: float, y: float, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{INK}" text-anchor="{anchor}">{text}</text>'


def arrow(x: float, y: float, to_x: float) -> str:
    return f'<path d="M{x} {y}H{to_x}m-6 -5l6 5l-6 5" fill="none" stroke="{INK}"/>'


if __name__ == "__main__":
    clip, bundle, target = map(Path, sys.argv[1:4])
    target.write_text(draw(clip, bundle), encoding="utf-8")
