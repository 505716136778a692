"""The windows of a recording gathered as they come: its probabilities, states and segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.inference.predict import RecordingPredictions, WindowPrediction
from keras_emo.inference.segments import Segment, find_segments, stack_probs


class GatheredWindows:
    """What is kept of every window. states: in how many windows each was."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray | None] = []
        self._end_s = 0.0
        self.states: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def probs(self) -> np.ndarray:
        """float32 (n_windows, 7), a row of NaN where a window abstains."""
        return stack_probs(self._rows)

    def add(self, answer: WindowPrediction) -> None:
        """Take the next window."""
        self._rows.append(answer.probs)
        self._end_s = answer.end_s
        for state in answer.states:
            self.states[state] = self.states.get(state, 0) + 1

    def end_s(self, answers: RecordingPredictions) -> float:
        """Where the recording ends, as far as it was read."""
        return max(answers.duration_s, self._end_s)

    def segments(self, answers: RecordingPredictions) -> list[Segment]:
        """Segments of all windows so far."""
        end_s = self.end_s(answers)
        return find_segments(self.probs, answers.window_s, answers.hop_s, end_s)

    def is_degraded(self, answers: RecordingPredictions) -> bool:
        """Whether a modality was missing in a window, or what was read is damaged."""
        return bool(self.states or answers.media.damaged_packets or answers.media.missing_s)

    def check(self, path: Path) -> None:
        """Raise ClipError where no window was answered."""
        if np.isnan(self.probs).all():
            said = " and ".join(self.states) or "nothing to answer"
            raise ClipError(path, Reason.NO_MODALITY, f"no window could be answered: {said}")
