"""What each emotion looks and sounds like, and how surely a performance shows it."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TypeVar

import numpy as np


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
LOOKS_LIKE: dict[str, str] = {
    "neutral": "sad",
    "calm": "happy",
    "happy": "neutral",
    "sad": "neutral",
    "angry": "disgust",
    "fear": "surprise",
    "disgust": "angry",
    "surprise": "fear",
}


@dataclass(frozen=True)
class Prosody:
    """How a voice departs from rest; all zero is neutral."""

    pitch_st: float = 0.0  # semitones
    range_st: float = 0.0  # added to the spread of the syllables' pitches
    slope_st: float = 0.0  # rise over the utterance
    level_db: float = 0.0
    tempo: float = 0.0  # octaves: 1 is twice as fast
    tilt_db: float = 0.0  # per octave; positive: brighter
    breath: float = 0.0
    jitter: float = 0.0  # irregular periods, fraction of a period
    tremor_st: float = 0.0


PROSODY: dict[str, Prosody] = {
    "neutral": Prosody(),
    "calm": Prosody(-0.5, -0.3, 0.0, -1.5, -0.10, -0.5, 0.03),
    "happy": Prosody(4.5, 2.2, 1.0, 4.0, 0.12, 1.2),
    "sad": Prosody(-1.5, -0.8, -1.5, -6.0, -0.30, -2.5, 0.20, 0.01, 0.2),
    "angry": Prosody(5.0, 1.4, -1.5, 7.5, 0.20, 2.8, -0.03, 0.02),
    "fear": Prosody(4.5, -0.2, 0.5, -1.5, 0.25, -0.8, 0.16, 0.02, 0.9),
    "disgust": Prosody(-2.5, 0.5, -2.5, 0.5, -0.22, 1.2, 0.0, 0.09),
    "surprise": Prosody(5.0, 2.4, 7.0, 2.5, 0.0, 0.2, 0.08),
}
# What a weak or careless performance of an emotion sounds like.
SOUNDS_LIKE: dict[str, str] = {
    "neutral": "disgust",
    "calm": "sad",
    "happy": "angry",
    "sad": "fear",
    "angry": "happy",
    "fear": "sad",
    "disgust": "neutral",
    "surprise": "happy",
}


_Style = TypeVar("_Style", Expression, Prosody)


def act(
    styles: dict[str, _Style],
    look_alikes: dict[str, str],
    emotion: str,
    strength: float,
    habit: np.ndarray,
    slip: float,
    rng: np.random.Generator,
) -> _Style:
    """One performance of an emotion, with chance in it.

    strength: 0 (neutral) to 1. habit: the speaker's own departures, one a field, in units of
    the spread between emotions. slip: how far performances drift to the look-alike, and how
    large the noise is (0: none).
    """
    table = {name: np.array(astuple(style)) for name, style in styles.items()}
    spread = np.std(list(table.values()), axis=0)
    drift = min(1.0, slip * rng.beta(1.0, 1.6))
    goal = (1 - drift) * table[emotion] + drift * table[look_alikes[emotion]]
    goal = goal * strength * rng.uniform(0.8, 1.15)
    goal = goal + spread * (habit + slip * 0.45 * rng.normal(0, 1, len(spread)))
    return type(styles[emotion])(*goal.tolist())


def draw_habit(styles: dict[str, _Style], rng: np.random.Generator) -> np.ndarray:
    """A speaker's own departures from the table, in units of the spread between emotions."""
    return rng.normal(0, 0.25, len(fields(styles["neutral"])))
