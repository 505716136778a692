"""Moving pictures of a drawn face: looks, movement, light and the room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

import cv2
import numpy as np

from keras_emo.demo_corpus.heads import Expression, Looks, Pen, draw_head

WIDTH_PX, HEIGHT_PX, FRAME_RATE_HZ = 640, 360, 30

_SKINS = ((236, 196, 170), (224, 178, 148), (205, 158, 124), (180, 130, 98), (242, 208, 188))
_HAIRS = ((40, 30, 26), (72, 48, 32), (110, 78, 48), (150, 118, 74), (28, 26, 30), (96, 50, 34))
_IRISES = ((70, 46, 30), (84, 104, 70), (72, 100, 130), (52, 36, 26))


def draw_looks(rng: np.random.Generator, male: bool) -> Looks:
    """A speaker drawn at random."""
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.92, 1.04)
    hair = np.array(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.15)
    lips = skin * ((0.82, 0.66, 0.66) if male else (0.84, 0.54, 0.56))
    return Looks(
        skin=tuple(np.minimum(skin, 250)),
        hair=tuple(hair),
        lips=tuple(lips),
        iris=_IRISES[rng.integers(len(_IRISES))],
        shirt=tuple(rng.uniform(40, 150, 3)),
        wall=tuple(rng.uniform(135, 205) + rng.normal(0, 8, 3)),
        center_px=(320 + rng.normal(0, 14), 170 + rng.normal(0, 5)),
        half_width_px=rng.uniform(66, 81),
        head_height=rng.uniform(1.26, 1.38),
        eye_x=rng.uniform(0.41, 0.47),
        eye_size=rng.uniform(0.9, 1.05),
        brow_thickness=rng.uniform(0.075, 0.105) if male else rng.uniform(0.055, 0.08),
        nose_length=rng.uniform(0.92, 1.08),
        mouth_width=rng.uniform(0.92, 1.08),
        hairline=rng.uniform(0.60, 0.72),
        long_hair=not male,
        light=rng.uniform(-1, 1),
        contrast=rng.uniform(0.1, 0.3),
    )


def draw_frames(
    looks: Looks, expression: Expression, loudness: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """RGB uint8 (360, 640, 3) frames at 30 per second, one for each value of loudness (0 to 1)."""
    n = len(loudness)
    t_s = np.arange(n) / FRAME_RATE_HZ
    rise = 0.55 + 0.45 * np.clip((t_s - 0.1) / 0.4, 0, 1)
    values = np.array(astuple(expression)) * rise[:, None]
    values = values + np.stack([_wander(rng, t_s, 0.05) for _ in range(values.shape[1])], axis=1)
    values[:, 6] = np.maximum(values[:, 6], 0) + 0.4 * loudness
    x_px = looks.center_px[0] + _wander(rng, t_s, 2.5)
    y_px = looks.center_px[1] + _wander(rng, t_s, 1.5) - 1.5 * loudness
    roll = rng.normal(0, 0.03) + _wander(rng, t_s, 0.02)
    lids = _blink(rng, t_s)

    room, shade = _draw_room(looks), _shade_head(looks)
    grain = rng.normal(0, 2.0, (HEIGHT_PX + 40, WIDTH_PX + 40, 1)).astype(np.int16)
    grain = np.repeat(grain, 3, axis=2)
    shifts = rng.integers(0, 40, (n, 2))
    half_w, half_h = round(1.45 * looks.half_width_px), round(2.1 * looks.half_width_px)
    left, top = round(looks.center_px[0]) - half_w, max(0, round(looks.center_px[1]) - half_h)
    area = np.s_[top : top + 2 * half_h, left : left + 2 * half_w]
    for i in range(n):
        frame = room.copy()
        part = np.ascontiguousarray(frame[area])
        pen = Pen(part, (x_px[i] - left, y_px[i] - top), looks.half_width_px, roll[i])
        draw_head(pen, looks, Expression(*values[i].tolist()), lids[i])
        dx, dy = round(x_px[i] - left), round(y_px[i] - top)
        h, w = part.shape[:2]
        middle = shade.shape[0] // 2
        light = shade[middle - dy : middle - dy + h, middle - dx : middle - dx + w]
        cv2.multiply(part, light, dst=part, scale=1 / 200)
        frame[area] = cv2.GaussianBlur(part, (0, 0), 1.6)
        r, c = shifts[i]
        yield cv2.add(frame, grain[r : r + HEIGHT_PX, c : c + WIDTH_PX], dtype=cv2.CV_8U)


def _wander(rng: np.random.Generator, t_s: np.ndarray, size: float) -> np.ndarray:
    """A slow smooth movement with about the given standard deviation."""
    rates_hz, phases = rng.uniform(0.15, 0.9, 3), rng.uniform(0, 2 * np.pi, 3)
    return size * 0.8 * np.sin(2 * np.pi * rates_hz * t_s[:, None] + phases).sum(axis=1)


def _blink(rng: np.random.Generator, t_s: np.ndarray) -> np.ndarray:
    """How far the lids are shut, 0 to 1; a blink of about 0.2 s every few seconds."""
    lids, at_s = np.zeros(len(t_s)), rng.uniform(0.2, 3.0)
    while at_s < len(t_s) / FRAME_RATE_HZ:
        lids = np.maximum(lids, np.clip(1.3 - np.abs(t_s - at_s) / 0.09, 0, 1))
        at_s += rng.uniform(1.5, 4.0)
    return lids


def _draw_room(looks: Looks) -> np.ndarray:
    """The wall, lit from one side, and the shoulders."""
    x = np.linspace(-1, 1, WIDTH_PX)
    light = 1 + 0.5 * looks.contrast * looks.light * x
    room = np.clip(light[None, :, None] * looks.wall, 0, 250)
    room = np.ascontiguousarray(np.broadcast_to(room, (HEIGHT_PX, WIDTH_PX, 3)), np.uint8)
    cx, cy = looks.center_px
    unit = looks.half_width_px
    center, axes = (round(cx), round(cy + 3.0 * unit)), (round(1.95 * unit), round(1.25 * unit))
    cv2.ellipse(room, center, axes, 0, 0, 360, looks.shirt, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(room, (0, 0), 2.0)


def _shade_head(looks: Looks) -> np.ndarray:
    """Light on a round head, uint8 (n, n, 3), 200 is unchanged; centered on the head."""
    half = round(4.5 * looks.half_width_px)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] / looks.half_width_px
    r2 = np.minimum(1.0, (x / 1.1) ** 2 + (y / 1.55) ** 2)
    edge = np.clip((1.35 - np.hypot(x / 1.1, y / 1.55)) / 0.35, 0, 1)  # fades on the wall
    lit = 0.98 - 0.22 * r2**1.5 + looks.contrast * looks.light * np.clip(x, -1, 1) - 0.03 * y
    lit = 1 + (lit - 1) * edge
    return np.repeat(np.clip(200 * lit, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
