"""Sound as it comes: made mono, resampled block by block, held as long as it is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

_GAP_S = 0.25  # sound that comes this much later than it should has silence before it
_BLOCK_S = 1.0  # of such silence
_NOTHING = np.zeros(0, np.float32)


class SoundBuffer:
    """Mono float32 at rate_hz, equal to resample of the whole, held until forget.

    The rate of the blocks may change.
    """

    def __init__(self, rate_hz: int):
        self.rate_hz = rate_hz
        self._from_hz = rate_hz
        self._resampler: soxr.ResampleStream | None = None
        self._blocks: list[np.ndarray] = []  # from sample _first to _n_samples
        self._first = self._n_samples = 0
        self._added_s = 0.0  # end of the sound before resampling

    @property
    def end_s(self) -> float:
        """How far it reaches, half a sample tolerated."""
        return (self._n_samples + 0.5) / self.rate_hz

    def find_gap(self, time_s: float) -> float:
        """How much silence, in s and at most a second of it, comes before sound at time_s."""
        gap_s = time_s - self._added_s
        return min(gap_s, _BLOCK_S) if gap_s > _GAP_S else 0.0

    def push(self, block: np.ndarray, from_hz: int) -> None:
        """Add the next sound, mono float32 (n,) at from_hz."""
        self._added_s += len(block) / from_hz
        if from_hz != self._from_hz:
            self.flush()
            self._from_hz = from_hz
        if from_hz != self.rate_hz:
            if self._resampler is None:
                rates = from_hz, self.rate_hz
                self._resampler = soxr.ResampleStream(*rates, 1, dtype="float32", quality="HQ")
            block = self._resampler.resample_chunk(np.ascontiguousarray(block))
        self._keep(block)

    def flush(self) -> None:
        """Add what the resampler holds back: no further sound comes at this rate."""
        if self._resampler is not None:
            self._keep(self._resampler.resample_chunk(_NOTHING, last=True))
            self._resampler = None

    def slice(self, start_s: float, end_s: float) -> np.ndarray:
        """The sound of this time as far as it is held, mono float32 (n,)."""
        held = self._join()
        first, last = (max(round(s * self.rate_hz) - self._first, 0) for s in (start_s, end_s))
        return held[first:last]

    def forget(self, before_s: float) -> None:
        """Release what is before this time."""
        n = min(round(before_s * self.rate_hz), self._n_samples) - self._first
        if n > 0:
            self._blocks = [self._join()[n:].copy()]
            self._first += n

    def _keep(self, block: np.ndarray) -> None:
        self._blocks.append(block)
        self._n_samples += len(block)

    def _join(self) -> np.ndarray:
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([_NOTHING, *self._blocks])]
        return self._blocks[0]


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Mono float32 at to_hz (soxr, high quality)."""
    if from_hz == to_hz:
        return waveform
    resampled: np.ndarray = soxr.resample(waveform, from_hz, to_hz, quality="HQ")
    return resampled.astype(np.float32)


def to_mono(frame: Any) -> np.ndarray:
    """One audio frame as mono float32: the mean of its channels, integers scaled to [-1, 1]."""
    if frame.format.name == "fltp":  # of AAC, Opus, MP3: to_ndarray takes as long as decoding
        channels = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
        total = channels[0].copy()
        for channel in channels[1:]:
            total += channel
        return total if len(channels) == 1 else np.divide(total, len(channels), out=total)
    data = frame.to_ndarray()
    n_channels = len(frame.layout.channels)
    if not frame.format.is_planar:
        data = data.reshape(-1, n_channels).T
    if data.dtype == np.uint8:
        data = (data.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float32) / float(np.iinfo(data.dtype).max + 1)
    data = data.astype(np.float32, copy=False)
    mono: np.ndarray = data[0] if n_channels == 1 else data.mean(axis=0)
    return mono
