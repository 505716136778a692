"""How a clip becomes arrays: frozen settings that are stored with cache and bundle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from keras_emo.io import digest_text


@dataclass(frozen=True)
class Range:
    """Finite numbers from low to high, without low itself where above, without high where below."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        begins = self.low < value if self.above else self.low <= value
        ends = value < self.high if self.below or self.high == math.inf else value <= self.high
        return begins and ends

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {_format(self.low)}"
        start = f"{'above' if self.above else 'from'} {_format(self.low)}"
        return f"{start} to {'below ' if self.below else ''}{_format(self.high)}"


def _format(end: float) -> str:
    """The number; an int of any size, which may be too large for a float's format."""
    return str(end) if isinstance(end, int) else f"{end:g}"


POSITIVE = Range(0, above=True)


def check_ranges(what: str, settings: object, ranges: Mapping[str, Range]) -> None:
    """Raise ValueError for the first of the named settings that lies outside; NaN always does."""
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise ValueError(f"{what} out of range: {name} is {value!r}, it can be {allowed}")


SUBJECTS = ("largest", "central")
# Settings that came later, and what was done before: the meaning of a stored spec without them.
_BEFORE: dict[str, Any] = {"detect_every": 1, "speaker": "largest", "decode_max_px": 0}


def _normalize_numbers(spec: Any) -> None:
    """3 and 3.0 are one setting and must have one digest, and so 0.0 and -0.0."""
    for f in fields(spec):
        value = getattr(spec, f.name)
        allowed: Any = {"int": int, "float": (int, float), "str": str}[str(f.type)]
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise TypeError(f"{f.name} = {value!r} is not of type {f.type}")
        if f.type == "float":
            try:
                object.__setattr__(spec, f.name, float(value) + 0.0)
            except OverflowError:  # of an integer with hundreds of digits
                raise ValueError(f"{f.name} is out of range") from None


_FACE_RANGES = {
    "frame_rate_hz": Range(0, 240, above=True),
    "size_px": Range(16, 1024),
    "margin": Range(-0.4, 1),
    "min_face_px": Range(20),
    "min_confidence": Range(0, 1),
    "max_frames": Range(1),
    "max_gap_s": Range(0, 60),
    "min_coverage": Range(0, 1),
    "detect_every": Range(1, 1000),
}
_AUDIO_RANGES = {
    "sample_rate_hz": Range(1000, 384_000),
    "duration_s": Range(0, 600, above=True),
    "fmin_hz": Range(0),
    "top_db": POSITIVE,
    "silence_dbfs": Range(-200, 0),
}


@dataclass(frozen=True)
class FaceSpec:
    """Which frames are sampled, whose face is chosen and how it is cropped.

    speaker: who is the subject among several people. ``largest``: whose face covers most, summed
    over the clip; ``central``: whose face is nearest the center of the picture, of those found at
    least half as often as the one found most. A clip never switches between people.
    """

    frame_rate_hz: float = 3.0  # every tenth frame at 30 fps
    size_px: int = 224
    margin: float = 0.0  # of the box's longer side, added on each side; below 0: taken off
    min_face_px: int = 40
    min_confidence: float = 0.9
    detect_max_px: int = 640  # longer side of the picture given to the detector
    max_frames: int = 96  # 32 s; a longer clip is cut there, with a warning
    max_gap_s: float = 1.0  # a missed face takes the box of a neighbor no further away
    min_coverage: float = 0.1  # of the examined frames must show a face, or there is none
    detect_every: int = 6  # sampled frames per full detection; between them faces are tracked
    speaker: str = "largest"
    decode_max_px: int = 1280  # longer side of a decoded picture, a larger one shrunk; 0: any

    def __post_init__(self) -> None:
        _normalize_numbers(self)
        check_ranges("face spec", self, _FACE_RANGES)
        if self.speaker not in SUBJECTS:
            known = ", ".join(SUBJECTS)
            raise ValueError(f"face spec out of range: speaker is {self.speaker!r}, known: {known}")
        check_ranges("face spec", self, {"detect_max_px": Range(self.min_face_px)})
        if self.decode_max_px:
            check_ranges("face spec", self, {"decode_max_px": Range(self.detect_max_px)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one crop, RGB uint8."""
        return (self.size_px, self.size_px, 3)


@dataclass(frozen=True)
class AudioSpec:
    """MFCC as librosa.feature.mfcc computes them with these settings."""

    sample_rate_hz: int = 48_000
    duration_s: float = 3.0
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0
    n_mfcc: int = 20
    top_db: float = 80.0
    silence_dbfs: float = -70.0  # a peak below this is silence

    def __post_init__(self) -> None:
        _normalize_numbers(self)
        check_ranges("audio spec", self, _AUDIO_RANGES)
        highest_hz = self.sample_rate_hz / 2
        related = {
            "fmax_hz": Range(self.fmin_hz, highest_hz, above=True),
            "n_mfcc": Range(1, self.n_mels),
            "hop_length": Range(1, self.n_fft),
        }
        check_ranges("audio spec", self, related)
        if self.n_fft % 2:
            raise ValueError(f"audio spec out of range: n_fft is {self.n_fft}, it can be even")

    @property
    def n_samples(self) -> int:
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def n_frames(self) -> int:
        """MFCC frames, centered windows: 282 for 3 s at 48 kHz, hop 512."""
        return 1 + self.n_samples // self.hop_length

    @property
    def shape(self) -> tuple[int, int]:
        return (self.n_mfcc, self.n_frames)


@dataclass(frozen=True)
class ClipSpec:
    """Everything that determines the inputs of the network for one clip."""

    face: FaceSpec = field(default_factory=FaceSpec)
    audio: AudioSpec = field(default_factory=AudioSpec)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; later settings with their old meaning are left out, so digests stay."""
        data = asdict(self)
        face = data["face"].items()
        data["face"] = {k: v for k, v in face if k not in _BEFORE or v != _BEFORE[k]}
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClipSpec:
        """Inverse of to_dict. Raises TypeError on other keys or types, ValueError out of range."""
        face, audio = FaceSpec(**(_BEFORE | data["face"])), AudioSpec(**data["audio"])
        return cls(face=face, audio=audio)

    def digest(self) -> str:
        """Sixteen hex digits that change whenever a setting does."""
        return digest_text(json.dumps(self.to_dict(), sort_keys=True))[:16]
