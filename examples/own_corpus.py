"""A corpus of your own: one folder per speaker, as ``anna_f/angry_01.mp4``.

``f`` or ``m`` ends the folder's name; the file is an emotion and a number.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_emo.data.corpora import register_corpus
from keras_emo.data.corpus import BadNameError, Found, NameInfo
from keras_emo.errors import Reason

SPEAKER = re.compile(r"([a-z]+)_([fm])")
NAME = re.compile(r"([a-z]+)_([0-9]{2})")


@register_corpus(
    "folders", license="our own", about="Recordings of our own, one folder per speaker."
)
def parse_folders(found: Found, root: Path) -> NameInfo:
    """What the path of a file below root tells. Raises BadNameError."""
    speaker, name = SPEAKER.fullmatch(found.path.parent.name), NAME.fullmatch(found.stem)
    if not speaker or not name:
        raise BadNameError(Reason.BAD_NAME, "not as anna_f/angry_01")
    return NameInfo(
        sample_id=f"folders/{speaker[1]}/{name[0]}",
        speaker=f"folders/{speaker[1]}",
        gender="female" if speaker[2] == "f" else "male",
        emotion=name[1],
        role=found.kind,
    )
