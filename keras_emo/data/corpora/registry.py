"""Corpora by name: how file names are read, what marks a folder, what the data may be used for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_emo.data.corpus import NameInfo, join_kinds
from keras_emo.data.recordings import Found
from keras_emo.extensions import load_extensions, load_own
from keras_emo.media.reader import ClipSource

AUTO = "auto"
GROUP = "keras_emo.corpora"  # of entry points: modules of other packages that register a corpus

Parse = Callable[[Found, Path], NameInfo | None]
Join = Callable[[Mapping[str, Found]], ClipSource]


@dataclass(frozen=True)
class CorpusEntry:
    """A registered corpus.

    parse: what a file of a folder (the second argument) is; None: not wanted; raises
    BadNameError for a name that is not this corpus's. join: the files of a take, by role, as
    one source. licence: of networks trained on it. about: a sentence for their model cards.
    marked: says whether a folder bears the corpus's own mark, for one whose file names are
    those of the corpus like.
    """

    name: str
    parse: Parse
    join: Join
    license: str
    about: str
    marked: Callable[[Path], bool] | None
    like: str


CORPORA: dict[str, CorpusEntry] = {}


def register_corpus(
    name: str,
    *,
    license: str,
    about: str,
    join: Join = join_kinds,
    marked: Callable[[Path], bool] | None = None,
    like: str = "",
) -> Callable[[Parse], Parse]:
    """Decorator that enters a corpus under a name, with the function that reads its names."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == AUTO:
        raise ValueError(f"no name of a corpus: {name!r}")

    def enter(parse: Parse) -> Parse:
        if name in CORPORA:
            raise ValueError(f"a corpus named {name} is registered already")
        CORPORA[name] = CorpusEntry(name, parse, join, license, about, marked, like)
        return parse

    return enter


def known_corpora() -> Mapping[str, CorpusEntry]:
    """Every corpus in the order of names: this project's and those of installed packages."""
    load_own("keras_emo.data.corpora")
    load_extensions(GROUP)
    return dict(sorted(CORPORA.items()))
