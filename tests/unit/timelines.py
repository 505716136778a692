"""A timeline from given probabilities, for the tests of what is drawn and written."""

from __future__ import annotations

import numpy as np

from keras_emo.inference.predict import IllustratedTimeline, TrackedWindow
from keras_emo.inference.results import Damage, name_probs
from keras_emo.inference.segments import find_segments, stack_probs
from keras_emo.labels import EMOTIONS


def make_window(start_s: float, probs: np.ndarray | str | None, **changes) -> TrackedWindow:
    """A window of 3 s; probs: (7,), or the emotion that is certain, None or NaN if it abstains."""
    given = {"modalities": ("face", "voice"), "states": (), "face": None} | changes
    if isinstance(probs, str):
        probs = np.eye(7)[EMOTIONS.index(probs)]
    if probs is None or np.isnan(probs[0]):
        given |= {"label": None, "confidence": None, "probs": None, "modalities": ()}
    else:
        label = EMOTIONS[int(np.argmax(probs))]
        given |= {"label": label, "confidence": float(np.max(probs)), "probs": name_probs(probs)}
    return TrackedWindow(start_s, start_s + 3.0, **given)


def make_timeline(probs: np.ndarray, **changes) -> IllustratedTimeline:
    """Windows of 3 s, one per second; probs: float (n_windows, 7), NaN where one abstains."""
    duration_s = len(probs) + 2.0
    windows = tuple(make_window(float(i), row) for i, row in enumerate(probs))
    given = {
        "path": "talk.mp4", "window_s": 3.0, "hop_s": 1.0, "windows": windows,
        "segments": tuple(find_segments(stack_probs([w.probs for w in windows]), 3.0, 1.0,
                                        duration_s)),
        "duration_s": duration_s, "damage": Damage(), "warnings": (),
    }  # fmt: skip
    return IllustratedTimeline(**(given | changes))
