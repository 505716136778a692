"""How a clip becomes arrays: frozen settings that travel with cache and bundle."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SPEAKERS = ("largest", "central")
# Settings that came later, with what was done before: a stored spec that lacks them means this.
_BEFORE: dict[str, Any] = {"detect_every": 1, "speaker": "largest", "decode_max_px": 0}


def _settle_numbers(spec: Any) -> None:
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


@dataclass(frozen=True)
class FaceSpec:
    """Which frames are looked at, whose face is taken and how it is cut out.

    speaker: of several people, ``largest``: whose face covers most, summed over the clip;
    ``central``: whose is nearest the middle of the picture, of those seen at least half as often
    as the one seen most. A clip never goes from one to another.
    """

    frame_rate_hz: float = 3.0  # every tenth frame at 30 fps
    size_px: int = 224
    margin: float = 0.0  # of the box's longer side, added on each side; below 0: taken off
    min_face_px: int = 40
    min_confidence: float = 0.9
    detect_max_px: int = 640  # longer side of the picture the detector sees
    max_frames: int = 96  # 32 s; a longer clip is cut there and says so
    max_gap_s: float = 1.0  # a missed face takes the box of a neighbour no further away
    min_coverage: float = 0.1  # of the examined frames must show a face, or there is none
    detect_every: int = 6  # sampled frames a full detection; between them faces are followed
    speaker: str = "largest"
    decode_max_px: int = 1280  # longer side of a decoded picture, a larger one shrunk; 0: any

    def __post_init__(self) -> None:
        _settle_numbers(self)
        if not (0 < self.frame_rate_hz <= 240 and 16 <= self.size_px <= 1024):
            raise ValueError(f"face spec out of range: {self}")
        if not (-0.4 <= self.margin <= 1 and self.min_face_px >= 20 and self.max_frames >= 1):
            raise ValueError(f"face spec out of range: {self}")
        if not (0 <= self.min_confidence <= 1 and self.detect_max_px >= self.min_face_px):
            raise ValueError(f"face spec out of range: {self}")
        if not (0 <= self.max_gap_s <= 60 and 0 <= self.min_coverage <= 1):
            raise ValueError(f"face spec out of range: {self}")
        if not (1 <= self.detect_every <= 1000 and self.speaker in SPEAKERS):
            raise ValueError(f"face spec out of range: {self}")
        if self.decode_max_px and self.decode_max_px < self.detect_max_px:
            raise ValueError(f"face spec out of range: {self}")

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
    silence_dbfs: float = -70.0  # a louder peak counts as sound

    def __post_init__(self) -> None:
        _settle_numbers(self)
        if not (1000 <= self.sample_rate_hz <= 384_000 and 0 < self.duration_s <= 600):
            raise ValueError(f"audio spec out of range: {self}")
        if not (0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2):
            raise ValueError(f"audio spec out of range: {self}")
        if not (1 <= self.n_mfcc <= self.n_mels and 0 < self.hop_length <= self.n_fft):
            raise ValueError(f"audio spec out of range: {self}")
        if not (self.n_fft % 2 == 0 and 0 < self.top_db < math.inf):
            raise ValueError(f"audio spec out of range: {self}")
        if not -200 <= self.silence_dbfs <= 0:
            raise ValueError(f"audio spec out of range: {self}")

    @property
    def n_samples(self) -> int:
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def n_frames(self) -> int:
        """MFCC frames, centred windows: 282 for 3 s at 48 kHz, hop 512."""
        return 1 + self.n_samples // self.hop_length

    @property
    def shape(self) -> tuple[int, int]:
        return (self.n_mfcc, self.n_frames)


@dataclass(frozen=True)
class ClipSpec:
    """Everything that decides what the network sees of one clip."""

    face: FaceSpec = field(default_factory=FaceSpec)
    audio: AudioSpec = field(default_factory=AudioSpec)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; later settings that are as before are left out, so digests stay."""
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
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
