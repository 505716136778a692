"""Expressions, and one drawn head: plain shapes whose geometry follows an expression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT = 4  # cv2 coordinates in sixteenths of a pixel

Color = tuple[float, float, float]  # RGB, 0 to 255


@dataclass(frozen=True)
class Expression:
    """How a face departs from rest, mostly -1 to 1; all zero is neutral."""

    brow_inner: float = 0.0  # up
    brow_outer: float = 0.0
    eye_open: float = 0.0
    squint: float = 0.0
    corners: float = 0.0  # of the mouth, up
    stretch: float = 0.0  # mouth wider
    open: float = 0.0
    upper_lip: float = 0.0  # raised
    wrinkle: float = 0.0  # of the nose


EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(),
    "calm": Expression(0.05, 0.05, -0.15, 0.1, 0.15),
    "happy": Expression(0.15, 0.2, -0.1, 0.7, 1.0, 0.6, 0.25, 0.2, 0.0),
    "sad": Expression(0.8, -0.5, -0.4, 0.1, -0.9, -0.1, 0.0, 0.0, 0.0),
    "angry": Expression(-1.0, 0.3, 0.2, 0.6, -0.4, -0.1, 0.2, 0.1, 0.3),
    "fear": Expression(0.9, 0.3, 0.8, -0.2, -0.4, 0.6, 0.4, 0.0, 0.0),
    "disgust": Expression(-0.6, -0.3, -0.5, 0.7, -0.5, 0.0, 0.15, 1.0, 1.0),
    "surprise": Expression(0.9, 1.0, 0.9, -0.3, 0.0, -0.5, 0.9, 0.0, 0.0),
}
# What a weak or careless performance of an emotion looks like.
LOOKS_LIKE = {
    "neutral": "sad", "calm": "happy", "happy": "neutral", "sad": "neutral",
    "angry": "disgust", "fear": "surprise", "disgust": "angry", "surprise": "fear",
}  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """One speaker's face and room. Lengths without _px are in half head widths."""

    skin: Color
    hair: Color
    lips: Color
    iris: Color
    shirt: Color
    wall: Color
    center_px: tuple[float, float]
    half_width_px: float
    head_height: float
    eye_x: float
    eye_size: float
    brow_thickness: float
    nose_length: float
    mouth_width: float
    hairline: float
    long_hair: bool
    light: float  # -1: from the left, 1: from the right
    contrast: float  # how dark the far side gets


class Pen:
    """Draws on an RGB picture in face coordinates: half head widths, x right, y down."""

    def __init__(self, picture: np.ndarray, center_px, unit_px: float, roll: float):
        self.picture, self.unit_px, self.roll = picture, unit_px, roll
        c, s = np.cos(roll) * unit_px, np.sin(roll) * unit_px
        self._turn, self._center = np.array([[c, s], [-s, c]]), np.asarray(center_px)

    def _place(self, points) -> np.ndarray:
        at = np.asarray(points, float) @ self._turn + self._center
        return np.round(at * (1 << _SHIFT)).astype(np.int32)

    def ellipse(self, x, y, rx, ry, color) -> None:
        center = self._place((x, y)).tolist()
        scale = self.unit_px * (1 << _SHIFT)
        axes = (round(rx * scale), round(ry * scale))
        turn = float(np.degrees(self.roll))
        cv2.ellipse(self.picture, center, axes, turn, 0, 360, color, -1, cv2.LINE_AA, _SHIFT)

    def fill(self, points, color) -> None:
        cv2.fillPoly(self.picture, [self._place(points)], color, cv2.LINE_AA, _SHIFT)

    def stroke(self, points, color, width) -> None:
        thick = max(1, round(width * self.unit_px))
        line = [self._place(points)]
        cv2.polylines(self.picture, line, False, color, thick, cv2.LINE_AA, _SHIFT)


_T = np.linspace(0, 1, 11)[:, None]


def arc(start, middle, end) -> np.ndarray:
    """(11, 2) points on the parabola through three points."""
    a, m, b = np.array(start), np.array(middle), np.array(end)
    return (1 - _T) ** 2 * a + 2 * _T * (1 - _T) * (2 * m - (a + b) / 2) + _T**2 * b


def _mix(a: Color, b: Color, share: float) -> Color:
    r, g, c = (x + (y - x) * share for x, y in zip(a, b, strict=True))
    return (r, g, c)


def _darken(color: Color, share: float) -> Color:
    return _mix(color, (30, 12, 8), share)


def draw_head(pen: Pen, looks: Looks, face: Expression, lids: float) -> None:
    """Hair, head and features. lids: 0 open to 1 shut (a blink)."""
    _draw_skull(pen, looks)
    for side in (-1, 1):
        _draw_eye(pen, looks, face, side, lids)
        _draw_brow(pen, looks, face, side)
    _draw_nose(pen, looks, face)
    _draw_mouth(pen, looks, face)


def _draw_skull(pen: Pen, looks: Looks) -> None:
    skin, hair, high = looks.skin, looks.hair, looks.head_height
    if looks.long_hair:
        pen.ellipse(0, 0.1, 1.2, high + 0.25, _darken(hair, 0.25))
    else:
        pen.ellipse(0, -0.3, 1.09, high - 0.2, _darken(hair, 0.15))
    neck = _darken(skin, 0.28)
    pen.fill([(-0.48, 0.9), (0.48, 0.9), (0.6, 2.4), (-0.6, 2.4)], neck)
    for side in (-1, 1):
        pen.ellipse(side * 1.0, 0.05, 0.12, 0.24, _darken(skin, 0.15))
        pen.ellipse(side * 1.02, 0.05, 0.06, 0.15, _darken(skin, 0.32))
    angle = np.linspace(0, 2 * np.pi, 49)
    x, y = np.sin(angle), -np.cos(angle)
    jaw = 1 - 0.12 * np.clip(y, 0, 1) ** 2 * np.abs(np.sin(2 * angle))
    pen.fill(np.stack([x * jaw, y * high], axis=1), skin)
    turn = np.linspace(-1.25, 1.25, 21)
    cap = np.stack([np.sin(turn) * 1.05, -np.cos(turn) * (high + 0.1)], axis=1)
    line = arc((0.98, -0.34), (0.1, -looks.hairline - 0.2), (-0.98, -0.34))
    pen.fill(np.vstack([cap, line]), hair)
    shine = arc((-0.75, -1.0), (-0.2, -1.3), (0.4, -1.22))
    pen.stroke(shine, _mix(hair, (255, 255, 255), 0.12), 0.1)
    if looks.long_hair:
        for side in (-1, 1):
            inner = arc((side * 0.9, -0.5), (side * 0.99, 0.3), (side * 0.88, 1.2))
            outer = arc((side * 1.12, 1.3), (side * 1.24, 0.3), (side * 0.95, -0.7))
            pen.fill(np.vstack([inner, outer]), hair)
    pen.ellipse(0, high - 0.16, 0.26, 0.09, _mix(skin, (255, 255, 255), 0.06))


def _draw_eye(pen: Pen, looks: Looks, face: Expression, side: int, lids: float) -> None:
    x, y, size = side * looks.eye_x, -0.13, looks.eye_size
    socket, line = _darken(looks.skin, 0.1), _darken(looks.skin, 0.6)
    pen.ellipse(x, y - 0.02, 0.29 * size, 0.19 * size, socket)
    below = _darken(looks.skin, 0.06 + 0.1 * max(0, face.squint))
    pen.ellipse(x, y + 0.17, 0.2 * size, 0.05, below)
    up = np.clip(0.095 * (1 + 0.75 * face.eye_open), 0.02, 0.2) * size * (1 - 0.95 * lids)
    down = np.clip(0.065 * (1 - 0.6 * face.squint), 0.01, 0.12) * size * (1 - 0.8 * lids)
    half = 0.2 * size
    a, b = (x - half, y), (x + half, y)
    upper, lower = arc(a, (x, y - up), b), arc(b, (x, y + down), a)
    pen.fill(np.vstack([upper, lower]), (236, 232, 228))
    pen.ellipse(x, y - 0.02, 0.095 * size, 0.095 * size, looks.iris)
    pen.ellipse(x, y - 0.02, 0.045 * size, 0.045 * size, (12, 10, 10))
    pen.ellipse(x + 0.03, y - 0.05, 0.022, 0.022, (250, 250, 250))
    pen.fill(np.vstack([upper, arc(b, (x, y - 0.2 * size), a)]), socket)  # lids over the iris
    pen.fill(np.vstack([lower, arc(a, (x, y + 0.15 * size), b)]), socket)
    pen.stroke(upper, line, 0.045 if looks.long_hair else 0.03)
    pen.stroke(lower, _darken(looks.skin, 0.3), 0.015)
    pen.stroke(arc(a, (x, y - up - 0.055), b), _darken(looks.skin, 0.25), 0.015)


def _draw_brow(pen: Pen, looks: Looks, face: Expression, side: int) -> None:
    x, y = side * looks.eye_x, -0.40
    inner_y, outer_y = y - 0.11 * face.brow_inner, y + 0.03 - 0.11 * face.brow_outer
    thick = looks.brow_thickness
    inner = (x - side * (0.24 + 0.03 * min(0, face.brow_inner)), inner_y)
    outer = (x + side * 0.28, outer_y)
    top = (x + side * 0.04, (inner_y + outer_y) / 2 - 0.055)
    above = arc(inner, top, outer)
    below = arc(outer, (top[0], top[1] + thick), (inner[0], inner[1] + thick))
    pen.fill(np.vstack([above, below]), _darken(looks.hair, 0.3))
    furrow = np.clip(-face.brow_inner, 0, 1)
    if furrow > 0.1:
        crease = [(side * 0.07, -0.5), (side * 0.08, -0.3)]
        pen.stroke(crease, _darken(looks.skin, 0.45 * furrow), 0.025)
    lift = np.clip(min(face.brow_inner, face.brow_outer + 0.5), 0, 1)
    if lift > 0.1 and side == 1:
        for level in (-0.62, -0.7):
            line = arc((-0.4, level), (0, level - 0.03), (0.4, level))
            pen.stroke(line, _darken(looks.skin, 0.25 * lift), 0.02)


def _draw_nose(pen: Pen, looks: Looks, face: Expression) -> None:
    skin, wrinkle = looks.skin, np.clip(face.wrinkle, 0, 1.2)
    tip = 0.36 * looks.nose_length - 0.05 * wrinkle
    side = -1 if looks.light > 0 else 1
    shadow = [(side * 0.07, -0.2), (side * 0.1, 0.1), (side * 0.19, tip), (side * 0.06, tip)]
    pen.fill(shadow, _darken(skin, 0.12))
    pen.ellipse(0, tip - 0.02, 0.13, 0.1, _mix(skin, (255, 255, 255), 0.1))
    for s in (-1, 1):
        pen.ellipse(s * 0.15, tip + 0.01, 0.07, 0.065, _darken(skin, 0.12))
        pen.ellipse(s * 0.08, tip + 0.07, 0.05, 0.025, _darken(skin, 0.6))
        if wrinkle > 0.1:
            for level in (-0.02, 0.08):
                crease = [(s * 0.04, level), (s * 0.17, level - 0.06)]
                pen.stroke(crease, _darken(skin, 0.4 * wrinkle), 0.02)
        fold = np.clip(0.55 * max(0, face.corners) + 0.5 * max(0, face.upper_lip), 0, 1)
        line = arc((s * 0.24, tip - 0.02), (s * 0.42, tip + 0.12), (s * 0.5, tip + 0.34))
        pen.stroke(line, _darken(skin, 0.08 + 0.25 * fold), 0.025)
        if face.corners > 0.2:
            cheek = _mix(skin, looks.lips, 0.25 * min(1, face.corners))
            pen.ellipse(s * 0.56, 0.28, 0.2, 0.14, cheek)


def _draw_mouth(pen: Pen, looks: Looks, face: Expression) -> None:
    y, smile = 0.74, np.clip(face.corners, -1.3, 1.3)
    half = 0.37 * looks.mouth_width * (1 + 0.25 * np.clip(face.stretch, -1, 1.2))
    gap = 0.34 * np.clip(face.open, 0, 1.3)
    lift = 0.08 * np.clip(face.upper_lip, 0, 1.2)
    middle = y + 0.05 * smile
    top, bottom = middle - 0.25 * gap - lift, middle + 0.75 * gap - 0.3 * lift
    a, b = (-half, y - 0.12 * smile), (half, y - 0.12 * smile)
    bow = 0.085 - 0.02 * np.clip(gap, 0, 0.3)
    upper_out, upper_in = arc(a, (0, top - bow), b), arc(a, (0, top), b)
    lower_in, lower_out = arc(b, (0, bottom), a), arc(b, (0, bottom + 0.115), a)
    pen.ellipse(0, bottom + 0.19, 0.22, 0.05, _darken(looks.skin, 0.14))
    pen.fill(np.vstack([upper_out, lower_out]), looks.lips)
    pen.fill(np.vstack([upper_out, upper_in[::-1]]), _darken(looks.lips, 0.12))
    opening = bottom - top
    if opening > 0.035:
        pen.fill(np.vstack([upper_in, lower_in]), (58, 18, 20))
        teeth = min(0.09, 0.55 * opening)
        pen.fill(np.vstack([upper_in, arc(b, (0, top + teeth), a)]), (228, 222, 212))
        if opening > 0.2:
            pen.ellipse(0, bottom - 0.06, 0.5 * half, 0.05, (150, 70, 70))
    else:
        pen.stroke(upper_in, _darken(looks.lips, 0.6), 0.025)
