"""A Predictor whose recordings are read in a sandbox."""

from __future__ import annotations

from pathlib import Path

from keras_emo.features.clip import ClipInputs
from keras_emo.inference.bundle import Bundle
from keras_emo.inference.model import Predictor
from keras_emo.media.reader import ClipSource
from keras_emo.sandbox.limits import Limits
from keras_emo.sandbox.sandbox import DEFAULT_LIMITS, Sandbox, SandboxWindows


class SandboxedPredictor(Predictor):
    """A Predictor that never opens a recording itself; a context that ends its sandbox."""

    def __init__(self, folder: Path | Bundle, threads: int = 0, limits: Limits = DEFAULT_LIMITS):
        super().__init__(folder, threads)
        self.sandbox = Sandbox(self.bundle, limits, self.threads)

    def __enter__(self) -> SandboxedPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.close()

    def prepare(self, source: ClipSource | Path) -> ClipInputs:
        """As Predictor.prepare, in the sandbox."""
        return self.sandbox.prepare(source)

    def predict_windows(
        self,
        path: Path,
        window_s: float | None = None,
        hop_s: float | None = None,
        parts: bool = False,
    ) -> SandboxWindows:
        """As Predictor.predict_windows, in the sandbox."""
        return self.sandbox.windows(path, window_s, hop_s, parts)
