"""A corpus of one's own: a folder a speaker, as ``anna_f/angry_01.mp4``.

``f`` or ``m`` ends the folder's name; the file is an emotion and a number.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from keras_emo.core.command import run_command
from keras_emo.core.errors import ExitCode, Reason
from keras_emo.core.labels import EMOTIONS
from keras_emo.core.media import ClipSource
from keras_emo.data.corpus import BadNameError, Corpus, Found, NameInfo, choose_source, gather

NAME = "folders"
SPEAKER = re.compile(r"([a-z]+)_([fm])")
TAKE = re.compile(r"([a-z]+)_([0-9]{2})")


def read_folders(root: Path, skip_bad: bool = False) -> Corpus:
    """Takes of such a corpus. Raises CorpusError with every problem, unless skip_bad."""
    return gather(root, NAME, parse, join, skip_bad)


def parse(found: Found) -> NameInfo:
    """What a path says. Raises BadNameError."""
    speaker, take = SPEAKER.fullmatch(found.path.parent.name), TAKE.fullmatch(found.stem)
    if not speaker or not take:
        raise BadNameError(Reason.BAD_NAME, "not as anna_f/angry_01")
    if take[1] not in EMOTIONS:
        cause = f"emotion {take[1]}, known are {', '.join(EMOTIONS)}"
        raise BadNameError(Reason.UNKNOWN_CODE, cause)
    return NameInfo(
        take_id=f"{NAME}/{speaker[1]}/{take[0]}",
        speaker=f"{NAME}/{speaker[1]}",
        gender="female" if speaker[2] == "f" else "male",
        emotion=take[1],
        role=found.kind,
    )


def join(roles: Mapping[str, Found]) -> ClipSource:
    """The picture of a video or of a folder of face pictures, the sound of a sound file."""
    return choose_source(roles, picture=("video", "frames"), sound=("audio",))


def train(root: Path, out: Path, config_file: Path | None, test: tuple[str, ...]) -> int:
    """What train.py does, with this corpus."""
    from keras_emo.data.splits import make_split
    from keras_emo.training.config import read_config
    from keras_emo.training.data import prepare
    from keras_emo.training.run import open_run
    from keras_emo.training.stages import train_stages
    from keras_emo.training.summary import format_summary

    corpus = read_folders(root)
    config = read_config(config_file, {"test": test})
    split = make_split(corpus.takes, config.test, config.val, config.seed)
    prepared = prepare(corpus, split, config.clip, Path("cache"))
    print(format_summary(train_stages(open_run(out, config, prepared))), end="")
    return ExitCode.OK


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train on a folder a speaker.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--test", nargs="+", required=True, help="speakers, as anna ben")
    given = parser.parse_args()
    sys.exit(run_command(lambda: train(given.data, given.out, given.config, tuple(given.test))))
