"""Clip to arrays: the one path, for training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.features.face import Person
from keras_emo.features.mfcc import compute_mfcc
from keras_emo.features.subject import SubjectFinder
from keras_emo.features.tracking import Detector, FaceTracker
from keras_emo.media.arrays import ArrayClip, read_arrays
from keras_emo.media.reader import ClipSource, read_images, read_media, relay_frames
from keras_emo.media.recording import Frame, Media, OnFrame, Streams
from keras_emo.media.sound import resample
from keras_emo.spec import AudioSpec, ClipSpec


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """The inputs of the network for one clip, and how they came about.

    face: RGB uint8 (n_frames, size_px, size_px, 3), or None where no face was found.
    face_found: bool (n_frames,), False where the box is a neighbor's.
    times_s, boxes: float32 (n_frames,), (n_frames, 4) x, y, width, height in px of the file's
    picture, upright.
    mfcc: float32 (n_mfcc, n_frames), or None without usable sound.
    frames_examined: frames searched for faces. states: reasons why a modality is missing.
    damaged_packets, missing_s: as in Media. face_id: the tracker's number of the person.
    """

    face: np.ndarray | None
    face_found: np.ndarray
    times_s: np.ndarray
    boxes: np.ndarray
    mfcc: np.ndarray | None
    duration_s: float
    frames_examined: int
    states: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
    damaged_packets: int = 0
    missing_s: float = 0.0
    face_id: int | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that are present, of "face" and "voice"."""
        present = {"face": self.face, "voice": self.mfcc}
        return tuple(name for name, value in present.items() if value is not None)


def prepare_clip(
    source: ClipSource | ArrayClip | Path,
    spec: ClipSpec,
    detector: Detector,
    modalities: Sequence[str] = ("face", "voice"),
    threads: int = 1,
) -> ClipInputs:
    """Decode a clip, follow the faces through its sampled frames, compute the MFCC.

    The face is the subject's, one person's from end to end, see FaceSpec. threads: of the
    decoder; the result is the same for any number. A modality that is absent (no sound,
    silence, no face) is a state of the result, never a zero array. Raises ClipError where the
    file cannot be used at all (unreadable, non-finite sound, neither face nor voice).
    """
    if isinstance(source, Path):
        source = ClipSource(video=source)
    tracker, finder = FaceTracker(spec.face, detector), SubjectFinder(spec.face)

    def on_frame(frame: Frame) -> None:
        finder.add(frame, tracker.update(frame.rgb, frame.time_s))

    if isinstance(source, ArrayClip):
        sound, media = source.path, read_arrays(source, spec, modalities, on_frame)
    else:
        sound = source.audio or source.path
        media = read_source(source, spec, modalities, on_frame, threads)
    inputs = gather_inputs(media, finder, spec, modalities, sound)
    if not inputs.modalities:
        raise _reject(source.path, inputs)
    return inputs


def gather_inputs(
    media: Media, finder: SubjectFinder, spec: ClipSpec, modalities: Sequence[str], sound: Path
) -> ClipInputs:
    """The inputs for a clip, or a window of a recording.

    media: what was read of it. finder: was given all of its frames. sound: the file to name if
    its sound is refused. Without either modality the states tell why. Raises ClipError on
    non-finite sound.
    """
    face: Person | Reason | None = None
    mfcc: np.ndarray | Reason | None = None
    warnings: list[str] = []
    if "face" in modalities:
        face = _find_face(media.streams, finder, warnings)
    if "voice" in modalities:
        waveform = check_waveform(media, spec.audio, sound)
        mfcc = waveform if isinstance(waveform, Reason) else compute_mfcc(waveform, spec.audio)
    subject = face if isinstance(face, Person) else None
    warnings += describe_damage(media)
    if media.cut:
        warnings.append(f"only the first {spec.face.max_frames} sampled frames were used")
    return ClipInputs(
        face=None if subject is None else np.stack(subject.crops),
        face_found=np.array([] if subject is None else subject.found, bool),
        times_s=np.array([] if subject is None else subject.times_s, np.float32),
        boxes=np.array([] if subject is None else subject.boxes, np.float32).reshape(-1, 4),
        mfcc=None if isinstance(mfcc, Reason) else mfcc,
        duration_s=media.duration_s,
        frames_examined=finder.n_examined,
        states=tuple(state for state in (face, mfcc) if isinstance(state, Reason)),
        warnings=tuple(warnings),
        damaged_packets=media.damaged_packets,
        missing_s=media.missing_s,
        face_id=None if subject is None else subject.id,
    )


def describe_damage(media: Media) -> list[str]:
    """What of a recording could not be read, a sentence each."""
    texts = [f"no decoder for its {kind} stream" for kind in media.streams.undecodable]
    if media.damaged_packets:
        texts.append(f"{media.damaged_packets} damaged packets")
    if media.missing_s:
        texts.append(f"cut short: {media.missing_s:.1f} s less than declared")
    return texts


def _reject(path: Path, inputs: ClipInputs) -> ClipError:
    reason = inputs.states[0] if len(inputs.states) == 1 else Reason.NO_MODALITY
    if Reason.UNSUPPORTED_CODEC in inputs.states:
        reason = Reason.UNSUPPORTED_CODEC
    reasons = " and ".join(inputs.states) or "no modality requested"
    return ClipError(path, reason, f"{reasons}; {inputs.frames_examined} frames examined")


def read_source(
    source: ClipSource,
    spec: ClipSpec,
    modalities: Sequence[str],
    on_frame: OnFrame | None = None,
    threads: int = 1,
) -> Media:
    """Decode the files of a clip that the modalities need. Raises ClipError.

    on_frame, threads: as in read_media; with several threads decoding runs beside on_frame.
    """
    rate_hz = spec.face.frame_rate_hz if "face" in modalities else None
    audio_s = spec.audio.duration_s if "voice" in modalities else 0.0
    if source.frames:
        media = Media(streams=Streams(has_video=True))
        if rate_hz is not None:
            media = read_images(source.frames, rate_hz, spec.face.max_frames, on_frame)
    elif source.video is not None:
        face, own_s = spec.face, audio_s if source.audio is None else 0.0
        limits = rate_hz, face.max_frames, own_s
        read = partial(read_media, source.video, *limits, max_px=face.decode_max_px)
        if on_frame is None or threads == 1:
            media = read(threads=threads, on_frame=on_frame)
        else:  # one of the threads looks for faces
            others = max(threads - 1, 0)
            media = relay_frames(lambda relay: read(threads=others, on_frame=relay), on_frame)
    else:
        media = Media()
    if source.audio is None or not audio_s:
        return media
    return _add_sound(media, read_media(source.audio, frame_rate_hz=None, audio_s=audio_s))


def _add_sound(media: Media, sound: Media) -> Media:
    """A recording of two files: the picture of one, the sound of the other."""
    undecodable = media.streams.undecodable + sound.streams.undecodable
    return replace(
        media,
        waveform=sound.waveform,
        sample_rate_hz=sound.sample_rate_hz,
        streams=Streams(media.streams.has_video, sound.streams.has_audio, undecodable),
        duration_s=max(media.duration_s, sound.duration_s),
        damaged_packets=media.damaged_packets + sound.damaged_packets,
        missing_s=max(media.missing_s, sound.missing_s),
    )


def check_waveform(media: Media, spec: AudioSpec, path: Path) -> np.ndarray | Reason:
    """The waveform at spec.sample_rate_hz, or the reason why there is none to use.

    Raises ClipError on NaN and infinite samples.
    """
    if media.waveform is None:
        unsupported = "audio" in media.streams.undecodable
        return Reason.UNSUPPORTED_CODEC if unsupported else Reason.NO_AUDIO
    if not np.isfinite(media.waveform).all():
        raise ClipError(path, Reason.NON_FINITE_AUDIO, "the sound holds NaN or infinite samples")
    waveform = resample(media.waveform, media.sample_rate_hz, spec.sample_rate_hz)
    if len(waveform) < spec.n_fft:
        return Reason.TOO_SHORT
    spread = float(np.abs(waveform - waveform.mean()).max())
    return Reason.SILENT_AUDIO if spread < 10 ** (spec.silence_dbfs / 20) else waveform


def _find_face(streams: Streams, finder: SubjectFinder, warnings: list[str]) -> Person | Reason:
    """The subject, or the reason why there is none."""
    if not streams.has_video:
        unsupported = "video" in streams.undecodable
        return Reason.UNSUPPORTED_CODEC if unsupported else Reason.NO_VIDEO
    if not finder.n_examined:
        return Reason.NO_FRAMES
    subject = finder.choose()
    if subject is None or subject.n_found < finder.spec.min_coverage * finder.n_examined:
        if subject is not None:
            counts = f"{subject.n_found} of {finder.n_examined}"
            warnings.append(f"a face in {counts} frames is too few")
        return Reason.NO_FACE
    if finder.has_several:
        which = {"largest": "largest", "central": "most central"}[finder.spec.speaker]
        warnings.append(f"several faces; the {which} was taken")
    return subject
