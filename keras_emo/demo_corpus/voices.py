"""Synthetic voices: glottal pulses and noise, filtered by formants, styled by an emotion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 48_000
LEAD_S = 0.3  # silence before the first syllable
_SYNTH_HZ = 16_000
_HOP = 64  # 4 ms
_WINDOW = 512
_SPEECH_RMS_DB = -27.0  # of a neutral voice, dBFS

# First three formants of a man's vowels, Hz.
_VOWELS = {
    "aa": (730, 1090, 2440),
    "ah": (640, 1190, 2390),
    "ao": (570, 840, 2410),
    "ay": (660, 1600, 2500),
    "er": (490, 1350, 1690),
    "ih": (390, 1990, 2550),
}
_UPPER_FORMANTS_HZ = (3500, 4500)
_BANDWIDTHS_HZ = (70, 95, 130, 200, 280)

# Voiced level, noise level, noise center and width in Hz.
_CONSONANTS = {
    "b": (0.25, 0.10, 900, 700),
    "d": (0.20, 0.35, 3600, 1500),
    "dh": (0.45, 0.15, 4500, 2500),
    "k": (0.00, 0.60, 2100, 1100),
    "s": (0.00, 0.90, 5900, 1600),
    "t": (0.00, 0.70, 4600, 2000),
    "z": (0.30, 0.55, 5500, 1700),
}

# Syllables in the rhythm of RAVDESS's "kids are talking ..." and "dogs are sitting ...".
STATEMENTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("k", "ih"), ("z", "er"), ("t", "ao"), ("k", "ih"), ("b", "ay"), ("dh", "ah"), ("d", "ao")),
    (("d", "ao"), ("z", "er"), ("s", "ih"), ("t", "ih"), ("b", "ay"), ("dh", "ah"), ("d", "aa")),
)


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
SOUNDS_LIKE = {
    "neutral": "disgust", "calm": "sad", "happy": "angry", "sad": "fear",
    "angry": "happy", "fear": "sad", "disgust": "neutral", "surprise": "happy",
}  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """One speaker's voice at rest."""

    f0_hz: float
    formant_scale: float  # 1: a man's tract; larger: shorter
    syllable_s: float
    breath: float  # noise in the source, 0 to 1
    level_db: float


def draw_voice(rng: np.random.Generator, male: bool) -> Voice:
    """A speaker drawn at random."""
    return Voice(
        f0_hz=(110.0 if male else 200.0) * 2 ** (rng.normal(0, 1.5) / 12),
        formant_scale=(1.0 if male else 1.16) * rng.uniform(0.95, 1.05),
        syllable_s=rng.uniform(0.23, 0.28),
        breath=rng.uniform(0.02, 0.10),
        level_db=rng.normal(0, 1.5),
    )


def speak(
    voice: Voice, prosody: Prosody, statement: int, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """One statement (1 or 2) as mono float32 in [-1, 1] at 48 kHz, n_samples long."""
    n = -(-n_samples * _SYNTH_HZ // SAMPLE_RATE_HZ)
    tracks = _plan_syllables(voice, prosody, STATEMENTS[statement - 1], n, rng)
    pulses = _make_pulses(tracks.f0_hz, max(0.0, 0.008 + prosody.jitter), n, rng)
    hiss = rng.normal(0, 1, n)
    speech = _filter_source(voice, prosody, tracks, pulses, hiss)
    at = np.flatnonzero(tracks.voiced > 0.5) * _HOP
    power = np.mean(speech[np.minimum(at[:, None] + np.arange(_HOP), n - 1)] ** 2)
    target_db = _SPEECH_RMS_DB + voice.level_db + prosody.level_db
    speech *= 10 ** (target_db / 20) / np.sqrt(power)
    factor = SAMPLE_RATE_HZ // _SYNTH_HZ
    sound = np.fft.irfft(np.fft.rfft(speech), n * factor)[:n_samples] * factor
    sound += rng.normal(0, 10 ** (rng.uniform(-70, -62) / 20), n_samples)  # the room
    return np.tanh(sound).astype(np.float32)


def measure_loudness(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """Loudness in [0, 1] at rate_hz, relative to the clip's own loud parts; float (n,)."""
    step = SAMPLE_RATE_HZ // rate_hz
    n = len(waveform) // step
    blocks = waveform[: n * step].reshape(n, step).astype(np.float64)
    rms = np.sqrt(np.mean(blocks**2, axis=1))
    return np.clip(rms / (np.percentile(rms, 95) + 1e-9), 0, 1) ** 0.7


@dataclass
class _Tracks:
    """What the source and the filter do, one row per hop."""

    f0_hz: np.ndarray
    voiced: np.ndarray
    noise: np.ndarray
    noise_center_hz: np.ndarray
    noise_width_hz: np.ndarray
    formants_hz: np.ndarray  # (rows, 5)


def _plan_syllables(voice, prosody, syllables, n, rng) -> _Tracks:
    rows, row_s = n // _HOP + 1, _HOP / _SYNTH_HZ
    total_s = n / _SYNTH_HZ
    lead_s = min(LEAD_S, 0.15 * total_s) * rng.uniform(0.9, 1.2)
    lengths_s = voice.syllable_s * rng.uniform(0.85, 1.15, len(syllables))
    lengths_s[-1] *= 1.4
    lengths_s *= 2.0**-prosody.tempo
    lengths_s *= min(1.0, (total_s - lead_s - 0.05) / lengths_s.sum())
    edges = np.round((lead_s + np.concatenate([[0], np.cumsum(lengths_s)])) / row_s).astype(int)

    voiced, noise, accent = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    center, width = np.full(rows, 3000.0), np.full(rows, 1500.0)
    low = np.full((rows, 3), (500.0, 1500.0, 2500.0))
    heights = rng.normal(0, 1, len(syllables))
    for (consonant, vowel), a, b, height in zip(
        syllables, edges[:-1], edges[1:], heights, strict=True
    ):
        turn = a + max(1, round(0.3 * (b - a)))
        voiced[a:turn], noise[a:turn], center[a:turn], width[a:turn] = _CONSONANTS[consonant]
        voiced[turn:b] = np.sin(np.linspace(0.35 * np.pi, 0.85 * np.pi, b - turn))
        low[a:b], accent[a:b] = _VOWELS[vowel], height
    smooth = np.hanning(13) / np.hanning(13).sum()  # 48 ms
    voiced, noise = (np.convolve(x, smooth, "same") for x in (voiced, noise))
    low = np.pad(low, ((6, 6), (0, 0)), mode="edge")
    low = np.stack([np.convolve(x, smooth, "valid") for x in low.T], axis=1)
    upper = np.full((rows, 2), _UPPER_FORMANTS_HZ, float)

    t_s = np.arange(rows) * row_s
    place = np.clip((t_s - lead_s) / lengths_s.sum(), 0, 1)
    slow = np.hanning(41) / np.hanning(41).sum()  # 160 ms
    semitones = prosody.pitch_st + (prosody.slope_st - 2.0) * (place - 0.5)
    semitones += max(0.2, 1.4 + prosody.range_st) * np.convolve(accent, slow, "same")
    semitones += prosody.tremor_st * np.sin(2 * np.pi * rng.uniform(5.5, 7.5) * t_s)
    return _Tracks(
        f0_hz=np.clip(voice.f0_hz * 2 ** (semitones / 12), 55, 700),
        voiced=voiced,
        noise=noise,
        noise_center_hz=center,
        noise_width_hz=width,
        formants_hz=np.hstack([low, upper]) * voice.formant_scale,
    )


def _make_pulses(f0_hz, jitter, n, rng) -> np.ndarray:
    """Glottal pulses, one per period, as (n,) samples; placed between samples by weight."""
    samples = np.arange(n)
    f0 = np.interp(samples, np.arange(len(f0_hz)) * _HOP, f0_hz)
    cycles = np.cumsum(f0) / _SYNTH_HZ
    count = int(cycles[-1])
    at = np.interp(np.arange(1, count), cycles, samples)
    at += rng.normal(0, jitter, len(at)) * np.gradient(at)
    size = 1 + rng.normal(0, 0.05 + jitter, len(at))
    size *= 1 + 3 * jitter * (-1.0) ** np.arange(len(at))  # creak: every other pulse weaker
    at = np.clip(at, 0, n - 2)
    left = at.astype(int)
    pulses = np.zeros(n)
    np.add.at(pulses, left, size * (1 - (at - left)))
    np.add.at(pulses, left + 1, size * (at - left))
    return pulses


def _filter_source(voice, prosody, tracks, pulses, hiss) -> np.ndarray:
    """Source times formants, window by window, overlap-added; (n,) samples."""
    n, rows = len(pulses), len(tracks.voiced)
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1])
    index = np.arange(rows)[:, None] * _HOP + np.arange(_WINDOW)

    def spectra(x):
        padded = np.pad(x, (_WINDOW // 2, _WINDOW // 2 + _HOP))
        return np.fft.rfft(padded[index] * window, axis=1)

    f = np.fft.rfftfreq(_WINDOW, 1 / _SYNTH_HZ)
    gain = np.ones((rows, len(f)))
    for center, width in zip(tracks.formants_hz.T, _BANDWIDTHS_HZ, strict=True):
        c2 = center[:, None] ** 2
        gain *= c2 / np.sqrt((f**2 - c2) ** 2 + (width * f) ** 2)
    slope_db = (prosody.tilt_db - 3.0) * np.log2(np.maximum(f, 150) / 500)
    gain *= 10 ** (slope_db / 20) * (f > 40)
    gain *= tracks.voiced[:, None]
    breath = np.clip(voice.breath + prosody.breath, 0.01, 0.8)
    center, width = tracks.noise_center_hz[:, None], tracks.noise_width_hz[:, None]
    fricative = tracks.noise[:, None] * np.exp(-0.5 * ((f - center) / width) ** 2)
    rise = np.clip(f / 2000, 0, 1)  # breath is audible in the upper formants
    shaped = spectra(pulses) * gain
    shaped += spectra(hiss) * (0.25 * breath * gain * rise + 0.06 * fricative)
    blocks = np.fft.irfft(shaped, axis=1) * window
    out = np.zeros(n + _WINDOW + _HOP)
    step = _WINDOW // _HOP
    for first in range(step):  # rows a window apart do not overlap
        part = blocks[first::step].ravel()
        start = first * _HOP
        part = part[: len(out) - start]
        out[start : start + len(part)] += part
    return out[_WINDOW // 2 : _WINDOW // 2 + n] / (step / 2)
