"""File names of the corpora; contract: fields, or BadNameError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mutation import mutate_bytes as mutate  # noqa: F401

from keras_emo.data.corpora.ravdess import is_song, parse_ravdess
from keras_emo.data.corpora.savee import SPEAKERS, describe_savee, parse_savee
from keras_emo.data.corpus import BadNameError, Found, natural_key

ROOT = Path("/savee")
LONGEST = 255  # bytes of a file name


def make_seeds() -> Iterator[bytes]:
    for name in ("01-01-05-02-01-01-03", "02-02-08-01-02-02-24", "DC_sa01", "a15", "KL/n30"):
        yield name.encode()


def attack(data: bytes) -> None:
    stem = data[:LONGEST].decode("utf-8", "surrogateescape")
    is_song(stem)
    with suppress(BadNameError):
        assert "-".join(parse_ravdess(stem)) == stem
    with suppress(BadNameError):
        speaker, _, number = parse_savee(stem)
        assert speaker in (None, *SPEAKERS)
        assert 1 <= number <= 99
    path = ROOT / stem.replace("\0", "").lstrip("/")
    natural_key(path)
    with suppress(BadNameError):
        describe_savee(Found(path, "audio", (path,)), ROOT)
