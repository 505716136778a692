"""Which clips the built-in corpus has, and how they are written, resumed and replaced."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_emo.data.workers import run_jobs
from keras_emo.demo_corpus import faces, voices
from keras_emo.demo_corpus.heads import EXPRESSIONS, LOOKS_LIKE, Expression
from keras_emo.demo_corpus.voices import PROSODY, SOUNDS_LIKE, Prosody
from keras_emo.errors import EnvironmentFailure, Reason, UsageError, translate_errors
from keras_emo.io import (
    CONTENT_ERRORS,
    make_folder,
    read_record,
    replace_file,
    sweep_drafts,
    write_json,
)
from keras_emo.spec import Range, check_ranges

SPEAKER_NOTE = (
    "drawn faces and synthetic voices, for trying out and for tests: "
    "scores on it say nothing about people"
)
GENERATOR = "keras_emo.demo_corpus"
GENERATOR_VERSION = 1  # raise it whenever a clip's content changes
EMOTION_CODES = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fear", "07": "disgust", "08": "surprise",
}  # fmt: skip
_STRENGTHS = {"01": 0.72, "02": 1.0}  # by intensity code
_SLIP = 0.8  # how far performances drift to the look-alike, and how large the noise is
_Style = TypeVar("_Style", Expression, Prosody)
_INDEX = "corpus.json"  # written before the clips


@dataclass(frozen=True)
class BuiltinSpec:
    """What the corpus contains: by default 8 speakers with 30 clips each.

    A clip lasts between min_duration_s and max_duration_s. Equal seeds give equal clips,
    whatever the numbers of speakers, statements and repetitions.
    """

    n_speakers: int = 8
    n_statements: int = 2
    n_repetitions: int = 1
    strong: bool = True  # strong intensity as well, for all but neutral
    min_duration_s: float = 3.0
    max_duration_s: float = 3.6
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "n_speakers": Range(1, 24),
            "n_statements": Range(1, 2),
            "n_repetitions": Range(1, 2),
            "seed": Range(0),
            "min_duration_s": Range(0.5, 60),
            "max_duration_s": Range(self.min_duration_s, 60),
        }
        check_ranges("built-in corpus", self, ranges)


def list_clips(spec: BuiltinSpec) -> list[str]:
    """Paths below the root, in order: ``Actor_01/01-01-EE-II-SS-RR-01.mp4``."""
    return [
        f"Actor_{actor:02d}/01-01-{code}-{intensity}-{statement:02d}-{repetition:02d}-{actor:02d}.mp4"
        for actor in range(1, spec.n_speakers + 1)
        for code in EMOTION_CODES
        for intensity in (("01", "02") if spec.strong and code != "01" else ("01",))
        for statement in range(1, spec.n_statements + 1)
        for repetition in range(1, spec.n_repetitions + 1)
    ]


def build_corpus(
    root: Path,
    spec: BuiltinSpec = BuiltinSpec(),  # noqa: B008 (frozen)
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the corpus below root, or what is missing of it, and return root.

    A complete corpus of the same spec is left as it is; one of another spec or version is
    replaced. workers: processes, 0 for one per core, 1 for none but this one. progress is
    called with (clips present, clips wanted). Raises UsageError where root holds recordings
    that are not this generator's, EnvironmentFailure where writing fails.
    """
    root = Path(os.path.abspath(root))
    clips = list_clips(spec)
    index = {
        "generator": GENERATOR,
        "version": GENERATOR_VERSION,
        "note": SPEAKER_NOTE,
        "spec": asdict(spec),
        "clips": clips,
    }
    with translate_errors(EnvironmentFailure, root, Reason.WRITE_FAILED):
        _prepare(root, index)
        missing = [clip for clip in clips if not (root / clip).is_file()]
        done = len(clips) - len(missing)
        jobs = [(root, clip, spec) for clip in missing]
        for _ in run_jobs(write_clip, jobs, workers):
            done += 1
            if progress is not None:
                progress(done, len(clips))
    return root


def render_clip(clip: str, spec: BuiltinSpec) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Picture and sound of one clip named as in list_clips.

    Frames: RGB uint8 (360, 640, 3) at 30 per second. Sound: mono float32 at 48 kHz, 1600
    samples per frame.
    """
    code, intensity, statement, _, actor = Path(clip).stem.split("-")[2:]
    emotion, male = EMOTION_CODES[code], int(actor) % 2 == 1
    strength = 0.0 if emotion == "neutral" else _STRENGTHS[intensity]
    face_rng, voice_rng, take_rng = (
        _random_stream(spec.seed, Path(clip).stem, part) for part in ("face", "voice", "take")
    )
    speaker_rng = _random_stream(spec.seed, "speaker", actor)
    looks, voice = faces.draw_looks(speaker_rng, male), voices.draw_voice(speaker_rng, male)
    face_habit, voice_habit = (
        speaker_rng.normal(0, 0.25, len(fields(style))) for style in (Expression, Prosody)
    )
    duration_s = take_rng.uniform(spec.min_duration_s, spec.max_duration_s)
    n_frames = round(duration_s * faces.FRAME_RATE_HZ)
    n_samples = n_frames * voices.SAMPLE_RATE_HZ // faces.FRAME_RATE_HZ

    prosody = _act(PROSODY, SOUNDS_LIKE, emotion, strength, voice_habit, voice_rng)
    waveform = voices.speak(voice, prosody, int(statement), n_samples, voice_rng)
    expression = _act(EXPRESSIONS, LOOKS_LIKE, emotion, strength, face_habit, face_rng)
    loudness = voices.measure_loudness(waveform, faces.FRAME_RATE_HZ)
    return faces.draw_frames(looks, expression, loudness, face_rng), waveform


def _act(
    styles: dict[str, _Style],
    look_alikes: dict[str, str],
    emotion: str,
    strength: float,
    habit: np.ndarray,
    rng: np.random.Generator,
) -> _Style:
    """One performance of an emotion, with chance in it.

    strength: 0 (neutral) to 1. habit: the speaker's own departures, one per field, in units of
    the spread between emotions.
    """
    table = {name: np.array(astuple(style)) for name, style in styles.items()}
    spread = np.std(list(table.values()), axis=0)
    drift = min(1.0, _SLIP * rng.beta(1.0, 1.6))
    goal = (1 - drift) * table[emotion] + drift * table[look_alikes[emotion]]
    goal = goal * strength * rng.uniform(0.8, 1.15)
    goal = goal + spread * (habit + _SLIP * 0.45 * rng.normal(0, 1, len(spread)))
    return type(styles[emotion])(*goal.tolist())


def _random_stream(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _prepare(root: Path, index: dict[str, Any]) -> None:
    """Leave below root the index and only clips of it."""
    make_folder(root)
    path, found = root / _INDEX, None
    if path.exists():
        cause = "not this generator's index ({}); name another folder"
        with translate_errors(UsageError, path, Reason.WRITE_FAILED, *CONTENT_ERRORS, cause=cause):
            found = read_record(path)
            clips = [Path(clip) for clip in found["clips"]]
            if found["generator"] != GENERATOR or any(
                clip.is_absolute() or ".." in clip.parts for clip in clips
            ):
                raise ValueError("of other clips")
        if found != index:
            for clip in clips:
                (root / clip).unlink(missing_ok=True)
    elif next(root.glob("Actor_*/*.mp4"), None) is not None:
        cause = "recordings that are not from the built-in corpus; name another folder"
        raise UsageError(root, Reason.WRITE_FAILED, cause)
    if found != index:
        write_json(path, index)
    for folder in (root, *root.glob("Actor_*")):
        sweep_drafts(folder)


def write_clip(root: Path, clip: str, spec: BuiltinSpec) -> None:
    """Render one clip and put it in its place below root."""
    with replace_file(root / clip) as draft:
        _encode(draft, *render_clip(clip, spec))


def _encode(path: Path, frames: Iterator[np.ndarray], waveform: np.ndarray) -> None:
    """H.264 and AAC in mp4; the same bytes for the same input."""
    import av

    step = voices.SAMPLE_RATE_HZ // faces.FRAME_RATE_HZ
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=faces.FRAME_RATE_HZ)
        video.width, video.height, video.pix_fmt = faces.WIDTH_PX, faces.HEIGHT_PX, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "24", "threads": "1"}
        sound = out.add_stream("aac", rate=voices.SAMPLE_RATE_HZ, layout="mono")
        sound.bit_rate = 128_000
        for i, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = i
            out.mux(video.encode(picture))
            block = np.ascontiguousarray(waveform[None, i * step : (i + 1) * step])
            samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = voices.SAMPLE_RATE_HZ, i * step
            out.mux(sound.encode(samples))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
