"""RAVDESS (Livingstone and Russo 2018, doi.org/10.1371/journal.pone.0196391), its speech.

Folders may be in any layout. The full file (01) is used where there is one; otherwise the video
(02), or a folder of face pictures named like it, with the sound (03). A sample with only one of
them lacks a modality.

The built-in corpus has the same file names, and the mark that its generator leaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from keras_emo.data.corpora import register_corpus
from keras_emo.data.corpus import BadNameError, Found, NameInfo, choose_source
from keras_emo.errors import Reason, UsageError, translate_errors
from keras_emo.media.reader import ClipSource

# by the third field; calm (02) counts as neutral
EMOTION_OF = {
    "01": "neutral", "02": "neutral", "03": "happy", "04": "sad",
    "05": "angry", "06": "fear", "07": "disgust", "08": "surprise",
}  # fmt: skip
SHAPE = re.compile(r"[0-9]{2}(?:-[0-9]{2}){6}")
CODES = {
    "modality": ("01", "02", "03"),  # full, video only, audio only
    "channel": ("01", "02"),  # speech, song
    "emotion": tuple(EMOTION_OF),
    "intensity": ("01", "02"),  # normal, strong
    "statement": ("01", "02"),
    "repetition": ("01", "02"),
    "actor": tuple(f"{n:02d}" for n in range(1, 25)),
}
SONG = "02"
# Spelled out: importing keras_emo.demo_corpus would import its encoder.
GENERATORS = ("keras_emo.demo_corpus", "keras_emo.builtin")


def parse_ravdess(stem: str) -> list[str]:
    """The codes in a file name without its extension, as CODES has them. Raises BadNameError."""
    if not SHAPE.fullmatch(stem):
        raise BadNameError(Reason.BAD_NAME, "not seven two-digit fields with dashes")
    codes = stem.split("-")
    for code, (field, known) in zip(codes, CODES.items(), strict=True):
        if code not in known:
            cause = f"{field} {code}, known are {known[0]} to {known[-1]}"
            raise BadNameError(Reason.UNKNOWN_CODE, cause)
    if codes[2:4] == ["01", "02"]:
        raise BadNameError(Reason.UNKNOWN_CODE, "strong neutral (01 with intensity 02)")
    return codes


def is_song(stem: str) -> bool:
    return bool(SHAPE.fullmatch(stem)) and stem.split("-")[1] == SONG


def describe_ravdess(found: Found, name: str = "ravdess") -> NameInfo:
    """What a file name encodes; name: of the corpus. Raises BadNameError."""
    codes, kind = parse_ravdess(found.stem), found.kind
    modality, _, emotion, *_, actor = codes
    if (modality, kind) == ("02", "audio"):
        raise BadNameError(Reason.UNKNOWN_CODE, "modality 02 (video only) on a sound file")
    if (modality, kind) == ("03", "frames"):
        raise BadNameError(Reason.UNKNOWN_CODE, "modality 03 (audio only) on a picture folder")
    if (modality, kind) == ("03", "video"):
        kind = "audio"  # sound alone, in a video's container
    return NameInfo(
        sample_id=f"{name}/" + "-".join(codes[1:]),
        speaker=f"{name}/{actor}",
        gender="male" if int(actor) % 2 else "female",
        emotion=EMOTION_OF[emotion],
        role=f"{modality} {kind}",
    )


def join_ravdess(roles: Mapping[str, Found]) -> ClipSource:
    """The full file, or video and sound."""
    if "01 video" in roles:  # has its own sound
        return ClipSource(video=roles["01 video"].path)
    return choose_source(
        roles, picture=("02 video", "02 frames", "01 frames"), sound=("03 audio", "01 audio")
    )


@register_corpus(
    "ravdess",
    license="CC-BY-NC-SA-4.0",
    about="RAVDESS speech (Livingstone and Russo, PLoS ONE 13(5): e0196391, 2018), "
    "CC BY-NC-SA 4.0: professional actors, two English sentences.",
    join=join_ravdess,
)
def parse_speech(found: Found, _root: Path) -> NameInfo | None:
    """What a file name encodes; None for a song. Raises BadNameError."""
    return None if is_song(found.stem) else describe_ravdess(found)


def is_marked(root: Path) -> bool:
    """Whether the folder has the generator's mark. Raises UsageError for a damaged one."""
    path = root / "corpus.json"
    if not path.is_file():
        return False
    damage = (OSError, ValueError, RecursionError)  # a guess would take it for RAVDESS
    with translate_errors(UsageError, path, Reason.UNREADABLE, *damage, cause="not JSON: {}"):
        mark = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(mark, dict) and (mark.get("generator") in GENERATORS or "note" in mark)


@register_corpus(
    "builtin",
    license="Apache-2.0",
    about="The built-in corpus: drawn faces and synthetic voices. It is for trying out and "
    "for tests; its scores say nothing about people.",
    join=join_ravdess,
    marked=is_marked,
    like="ravdess",
)
def parse_builtin(found: Found, _root: Path) -> NameInfo:
    """What a file name encodes. Raises BadNameError."""
    return describe_ravdess(found, "builtin")
