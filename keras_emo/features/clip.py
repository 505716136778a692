"""Clip to arrays: the one entry point, for training and for serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.features.mfcc import compute_mfcc
from keras_emo.features.subject import SubjectFinder
from keras_emo.features.tracking import Detector, FaceTracker
from keras_emo.media.reader import ClipSource, read_images, read_media, resample
from keras_emo.media.recording import Media, TakeFrame
from keras_emo.media.relay import relay_frames
from keras_emo.spec import AudioSpec, ClipSpec


@dataclass
class ClipInputs:
    """What the network sees of one clip, and how it came about.

    face: RGB uint8 (n_frames, size_px, size_px, 3), or None where no face was found.
    face_found: bool (n_frames,), False where the box is a neighbour's.
    times_s, boxes: float32 (n_frames,), (n_frames, 4) x, y, width, height in px of the file's
    picture, upright.
    mfcc: float32 (n_mfcc, n_frames), or None without usable sound.
    frames_examined: pictures the detector saw. states: reasons why a modality is missing.
    damaged_packets, missing_s: as in Media. face_id: the tracker's number of the person.
    """

    face: np.ndarray | None
    face_found: np.ndarray
    times_s: np.ndarray
    boxes: np.ndarray
    mfcc: np.ndarray | None
    duration_s: float
    frames_examined: int
    states: list[Reason] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    damaged_packets: int = 0
    missing_s: float = 0.0
    face_id: int | None = None

    @property
    def modalities(self) -> list[str]:
        present = {"face": self.face, "voice": self.mfcc}
        return [name for name, value in present.items() if value is not None]


def prepare_clip(
    source: ClipSource | Path,
    spec: ClipSpec,
    detector: Detector,
    modalities: Sequence[str] = ("face", "voice"),
    threads: int = 1,
) -> ClipInputs:
    """Decode a clip, follow the faces through its sampled frames, compute the MFCC.

    The face is the speaker's, one person's from end to end, see FaceSpec. threads: of the
    decoder; the result is the same for any number. A modality that is absent (no sound,
    silence, no face) is a state of the result, never a zero array. Raises ClipError where the
    file cannot be used at all (unreadable, non-finite sound, neither face nor voice).
    """
    if not isinstance(source, ClipSource):
        source = ClipSource(video=source)
    tracker, finder = FaceTracker(spec.face, detector), SubjectFinder(spec.face)

    def take(frame: np.ndarray, time_s: float) -> None:
        finder.add(frame, time_s, tracker.update(frame, time_s))

    media = read_source(source, spec, modalities, take, threads)
    inputs = gather_inputs(media, finder, spec, modalities, source.audio or source.path)
    inputs.warnings += describe_damage(media)
    if media.cut:
        inputs.warnings.append(f"only the first {spec.face.max_frames} sampled frames were used")
    if not inputs.modalities:
        raise _reject(source.path, inputs)
    return inputs


def gather_inputs(
    media: Media, finder: SubjectFinder, spec: ClipSpec, modalities: Sequence[str], sound: Path
) -> ClipInputs:
    """What the network sees of a clip, or a part of one, that was decoded and looked through.

    finder: was given every frame of media. sound: the file to name where its sound is refused.
    Without either modality the result says why. Raises ClipError on non-finite sound.
    """
    inputs = ClipInputs(
        face=None,
        face_found=np.zeros(0, bool),
        times_s=np.zeros(0, np.float32),
        boxes=np.zeros((0, 4), np.float32),
        mfcc=None,
        duration_s=media.duration_s,
        frames_examined=finder.n_examined,
        damaged_packets=media.damaged_packets,
        missing_s=media.missing_s,
    )
    if "face" in modalities:
        _add_faces(inputs, media, finder)
    if "voice" in modalities:
        _add_voice(inputs, media, spec.audio, sound)
    return inputs


def describe_damage(media: Media) -> list[str]:
    """What of a recording could not be read, a sentence each."""
    texts = [f"no decoder for its {kind} stream" for kind in media.undecodable]
    if media.damaged_packets:
        texts.append(f"{media.damaged_packets} damaged packets")
    if media.missing_s:
        texts.append(f"cut short: {media.missing_s:.1f} s less than declared")
    return texts


def _reject(path: Path, inputs: ClipInputs) -> ClipError:
    reasons = [str(s) for s in inputs.states] or ["nothing asked for"]
    if Reason.UNSUPPORTED_CODEC in inputs.states:
        reason = Reason.UNSUPPORTED_CODEC
    else:
        reason = inputs.states[0] if len(inputs.states) == 1 else Reason.NO_MODALITY
    examined = f"{inputs.frames_examined} frames examined"
    return ClipError(path, reason, f"{' and '.join(reasons)}; {examined}")


def read_source(
    source: ClipSource,
    spec: ClipSpec,
    modalities: Sequence[str],
    take: TakeFrame | None = None,
    threads: int = 1,
) -> Media:
    """Decode the files of a clip that the modalities need. Raises ClipError.

    take, threads: as in read_media; with several threads decoding goes on beside take.
    """
    rate_hz = spec.face.frame_rate_hz if "face" in modalities else None
    audio_s = spec.audio.duration_s if "voice" in modalities else 0.0
    own_sound = source.audio is None
    if source.frames:
        media = Media(has_video=True)
        if rate_hz is not None:
            media = read_images(source.frames, rate_hz, spec.face.max_frames, take)
    elif source.video is not None:
        read = partial(
            read_media,
            source.video,
            rate_hz,
            max_frames=spec.face.max_frames,
            audio_s=audio_s if own_sound else 0.0,
            max_px=spec.face.decode_max_px,
        )
        if take is None or threads == 1:
            media = read(threads=threads, take=take)
        else:  # one of the threads looks at the pictures
            others = max(threads - 1, 0)
            media = relay_frames(lambda hand_on: read(threads=others, take=hand_on), take)
    else:
        media = Media()
    if source.audio is not None and audio_s:
        sound = read_media(source.audio, frame_rate_hz=None, audio_s=audio_s)
        media.waveform, media.sample_rate_hz = sound.waveform, sound.sample_rate_hz
        media.duration_s = max(media.duration_s, sound.duration_s)
        media.damaged_packets += sound.damaged_packets
        media.missing_s = max(media.missing_s, sound.missing_s)
        media.undecodable += sound.undecodable
    return media


def check_waveform(media: Media, spec: AudioSpec, path: Path) -> np.ndarray | Reason:
    """The waveform at spec.sample_rate_hz, or the reason why there is none to use."""
    if media.waveform is None:
        return Reason.UNSUPPORTED_CODEC if "audio" in media.undecodable else Reason.NO_AUDIO
    if not np.isfinite(media.waveform).all():
        raise ClipError(path, Reason.NON_FINITE_AUDIO, "the sound holds NaN or infinite samples")
    waveform = resample(media.waveform, media.sample_rate_hz, spec.sample_rate_hz)
    if len(waveform) < spec.n_fft:
        return Reason.TOO_SHORT
    spread = float(np.abs(waveform - waveform.mean()).max())
    return Reason.SILENT_AUDIO if spread < 10 ** (spec.silence_dbfs / 20) else waveform


def _add_voice(inputs: ClipInputs, media: Media, spec: AudioSpec, path: Path) -> None:
    waveform = check_waveform(media, spec, path)
    if isinstance(waveform, Reason):
        inputs.states.append(waveform)
    else:
        inputs.mfcc = compute_mfcc(waveform, spec)


def _add_faces(inputs: ClipInputs, media: Media, finder: SubjectFinder) -> None:
    if not media.has_video:
        unsupported = "video" in media.undecodable
        inputs.states.append(Reason.UNSUPPORTED_CODEC if unsupported else Reason.NO_VIDEO)
        return
    if not finder.n_examined:
        inputs.states.append(Reason.NO_FRAMES)
        return
    track = finder.choose()
    n_found = sum(track.found) if track is not None else 0
    if track is None or n_found < finder.spec.min_coverage * finder.n_examined:
        inputs.states.append(Reason.NO_FACE)
        if n_found:
            text = f"a face in {n_found} of {finder.n_examined} frames is too few"
            inputs.warnings.append(text)
        return
    if finder.several:
        which = {"largest": "largest", "central": "most central"}[finder.spec.speaker]
        inputs.warnings.append(f"several faces; the {which} was taken")
    inputs.face, inputs.face_id = np.stack(track.crops), finder.chosen_id
    inputs.face_found = np.array(track.found)
    inputs.times_s = np.array(track.times_s, np.float32)
    scales = dict(zip(media.times_s, media.scales, strict=True))
    back = [scales[t] * 2 for t in track.times_s]
    inputs.boxes = (np.array(track.boxes) * np.array(back)).astype(np.float32)
