"""A recording of any length as overlapping windows: one pass, constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_emo.errors import ClipError, Reason
from keras_emo.features.clip import ClipInputs, gather_inputs
from keras_emo.features.subject import SubjectFinder
from keras_emo.features.tracking import Detector, FaceTracker, TrackedFace
from keras_emo.media.recording import Frame, Media, Streams
from keras_emo.media.sound import SoundBuffer
from keras_emo.spec import ClipSpec

# A stream this far behind the other one is not waited for; FFmpeg writes up to 10 s apart.
PATIENCE_S = 15.0
LIVE_PATIENCE_S = 1.0  # sound and picture of a live source come together


@dataclass(frozen=True)
class Window:
    """A window of a recording, prepared for the network.

    inputs: as prepare_clip gives them for a clip of just this window, times_s from the start of
    the recording. Neither modality present is no error here.
    """

    start_s: float
    end_s: float
    inputs: ClipInputs


_Tracked = tuple[Frame, Sequence[TrackedFace]]  # a sampled frame and the faces in it


class WindowCutter:
    """Cuts frames and sound, as they are decoded, into windows, in order.

    Window k reaches from k * hop_s to window_s later, the last one to the end of the recording,
    up to half a hop more: a clip of about a window is one window, all of it, as in prepare_clip.
    Faces are followed once, from start to end, so a person's id holds across windows; the
    subject is chosen in each window, as prepare_clip does. Held are the crops and the sound of
    windows that are still open; a stream that is far behind the other is not waited for.

    streams: of the recording. path: to name in errors. live: windows come half a hop sooner, and
    none is longer than window_s.
    """

    def __init__(
        self,
        path: Path,
        streams: Streams,
        spec: ClipSpec,
        detector: Detector,
        modalities: Sequence[str],
        window_s: float,
        hop_s: float,
        live: bool = False,
    ):
        self.path, self.streams, self.spec, self.modalities = path, streams, spec, modalities
        self.window_s, self.hop_s = window_s, hop_s
        self._patience_s = LIVE_PATIENCE_S if live else PATIENCE_S
        self.came_late = False  # something belonged to windows that were closed
        self._tracker = FaceTracker(spec.face, detector)
        self._early_s = min(1 / 60, 0.5 / spec.face.frame_rate_hz)  # of a frame due at an edge
        self._rest_s = 0.0 if live else hop_s / 2
        self._late: deque[_Tracked] = deque()  # frames that the last window may include
        self._open: dict[int, SubjectFinder] = {}  # by number of the window
        self._reached_s = 0.0  # by the frames
        self._sound = SoundBuffer(spec.audio.sample_rate_hz)
        self._next = 0  # window to close
        self._ready: deque[Window] = deque()

    def on_frame(self, frame: Frame) -> None:
        """Add the next sampled frame."""
        tracked = frame, self._tracker.update(frame.rgb, frame.time_s)
        self._reached_s = frame.time_s + self._early_s
        number = self._next
        self.came_late |= self._reached_s < self._start_s(number)
        while self._start_s(number) <= self._reached_s:
            if self._reached_s < self._end_s(number):
                self._add(number, tracked)
            number += 1
        self._late.append(tracked)
        while self._late[0][0].time_s < frame.time_s - self._rest_s:
            self._late.popleft()
        self._close_ready()

    def on_audio(self, block: np.ndarray, rate_hz: int, time_s: float) -> None:
        """Add the next sound, mono float32 (n,) in [-1, 1], from time_s on. Raises ClipError."""
        if not np.isfinite(block).all():
            cause = f"the sound holds NaN or infinite samples at {time_s:.1f} s"
            raise ClipError(self.path, Reason.NON_FINITE_AUDIO, cause)
        while gap_s := self._sound.find_gap(time_s):  # may be hours long
            self._sound.push(np.zeros(round(gap_s * rate_hz), np.float32), rate_hz)
            self._close_ready()
        self._sound.push(block, rate_hz)
        self.came_late |= self._sound.end_s < self._start_s(self._next)
        self._close_ready()

    def pop(self) -> Iterator[Window]:
        """The windows that are complete since the last call."""
        while self._ready:
            yield self._ready.popleft()

    def advance(self, time_s: float) -> None:
        """No picture comes from before time_s: for live sources that stall."""
        self._reached_s = max(self._reached_s, time_s)
        self._close_ready()

    def finish(self, duration_s: float) -> Iterator[Window]:
        """The rest, once nothing more comes; at least one window in all."""
        self._sound.flush()
        yield from self.pop()
        while not self._next or duration_s - self._end_s(self._next - 1) > self.hop_s / 2:
            end_s = self._end_s(self._next)
            if duration_s - end_s <= self._rest_s:
                for tracked in self._late:
                    if tracked[0].time_s + self._early_s >= end_s:
                        self._add(self._next, tracked)
                end_s = max(duration_s, self._start_s(self._next))
            yield self._close(end_s)

    def _add(self, number: int, tracked: _Tracked) -> None:
        finder = self._open.setdefault(number, SubjectFinder(self.spec.face))
        if finder.n_examined < self.spec.face.max_frames:
            finder.add(*tracked)

    def _start_s(self, number: int) -> float:
        return number * self.hop_s

    def _end_s(self, number: int) -> float:
        return number * self.hop_s + self.window_s

    def _close_ready(self) -> None:
        reached_s = []
        if self.streams.has_video and "face" in self.modalities:
            reached_s.append(self._reached_s)
        if self.streams.has_audio and "voice" in self.modalities:
            reached_s.append(self._sound.end_s)
        while True:
            end_s = self._end_s(self._next)
            late_s = max(reached_s) - self._patience_s
            if max(min(reached_s), late_s) < end_s + self._rest_s:
                return
            self._ready.append(self._close(end_s))

    def _close(self, end_s: float) -> Window:
        """The next window, as far as its end; what only it needed is released."""
        start_s = self._start_s(self._next)
        finder = self._open.pop(self._next, None) or SubjectFinder(self.spec.face)
        self._next += 1
        sound = self._sound.slice(start_s, max(end_s, start_s + self.window_s))
        waveform, rate_hz = sound if len(sound) else None, self._sound.rate_hz
        media = Media((), waveform, rate_hz, self.streams, duration_s=end_s - start_s)
        inputs = gather_inputs(media, finder, self.spec, self.modalities, self.path)
        self._sound.forget(self._start_s(self._next))
        return Window(start_s, end_s, inputs)
