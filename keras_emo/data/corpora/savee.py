"""SAVEE (Haq and Jackson, University of Surrey, kahlan.eps.surrey.ac.uk/savee).

Files are ``AudioVisualClip/DC/a1.avi``, ``AudioData/DC/a01.wav``, or ``DC/a01.wav`` and
``DC_a01.wav`` at any depth, or folders of face pictures with such names. The video is used with
the sound file, and with its own sound where there is none.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_emo.data.corpora import register_corpus
from keras_emo.data.corpus import BadNameError, Found, NameInfo
from keras_emo.errors import Reason

SPEAKERS = ("DC", "JE", "JK", "KL")  # all men
# the letters before the number
EMOTION_OF = {
    "a": "angry", "d": "disgust", "f": "fear", "h": "happy", "n": "neutral", "sa": "sad",
    "su": "surprise",
}  # fmt: skip
SHAPE = re.compile(r"(?:([a-z]{2})_)?([a-z]{1,2})([0-9]{1,2})", re.IGNORECASE | re.ASCII)


def parse_savee(stem: str) -> tuple[str | None, str, int]:
    """Speaker, emotion and number of a file name without its extension. Raises BadNameError.

    Speaker: None where the name leaves it to the folder.
    """
    match = SHAPE.fullmatch(stem)
    if not match:
        raise BadNameError(Reason.BAD_NAME, "not an emotion's letters and a number, as in sa01")
    speaker, emotion, number = match[1], match[2].lower(), int(match[3])
    if speaker is not None and speaker.upper() not in SPEAKERS:
        cause = f"speaker {speaker}, known are {', '.join(SPEAKERS)}"
        raise BadNameError(Reason.UNKNOWN_CODE, cause)
    if emotion not in EMOTION_OF:  # whole letters: s01 is nothing, sa01 is sad
        cause = f"emotion {emotion}, known are {', '.join(EMOTION_OF)}"
        raise BadNameError(Reason.UNKNOWN_CODE, cause)
    if number == 0:
        raise BadNameError(Reason.UNKNOWN_CODE, "number 0, they start at 1")
    return speaker and speaker.upper(), emotion, number


@register_corpus(
    "savee",
    license="research use only; the terms of SAVEE apply",
    about="SAVEE (Haq and Jackson, 2010): four male speakers of British English.",
)
def describe_savee(found: Found, root: Path) -> NameInfo:
    """What the file name and its folders, root at most, encode. Raises BadNameError."""
    named, emotion, number = parse_savee(found.stem)
    folder = _speaker_folder(found.path.parent, root)
    speaker = named or folder
    if speaker is None:
        cause = f"no speaker ({', '.join(SPEAKERS)}) in the name or as a folder"
        raise BadNameError(Reason.BAD_NAME, cause)
    if folder not in (None, speaker):
        raise BadNameError(Reason.BAD_NAME, f"speaker {speaker} in the folder of {folder}")
    return NameInfo(
        sample_id=f"savee/{speaker}/{emotion}{number:02d}",
        speaker=f"savee/{speaker}",
        gender="male",
        emotion=EMOTION_OF[emotion],
        role=found.kind,
    )


def _speaker_folder(folder: Path, root: Path) -> str | None:
    """The innermost folder of a speaker, root at most."""
    names = [name.upper() for name in reversed(folder.relative_to(root.parent).parts)]
    return next((name for name in names if name in SPEAKERS), None)
