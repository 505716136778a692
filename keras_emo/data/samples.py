"""One performance of one sentence: the unit that is counted, split and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras_emo.labels import EMOTION_INDEX
from keras_emo.media.reader import ClipSource


@dataclass(frozen=True)
class Sample:
    """A labelled performance, whatever files it is spread over.

    take_id drops the modality, so that the audio-only, video-only and full files of one
    performance are one take: ``ravdess/01-05-02-01-01-03`` (channel-emotion-intensity-
    statement-repetition-actor), ``savee/DC/a01``.
    """

    sample_id: str
    corpus: str  # "ravdess" | "savee" | "builtin"
    speaker: str  # "ravdess/03", "savee/DC": what splits are made of
    gender: Literal["male", "female"]
    emotion: str  # one of core.labels.EMOTIONS
    source: ClipSource

    @property
    def label(self) -> int:
        return EMOTION_INDEX[self.emotion]
