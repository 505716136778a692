"""Corpora by name, one in a module: how file names are read, what the data may be used for."""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from keras_emo.data.corpus import (
    BadNameError,
    Corpus,
    CorpusError,
    Found,
    NameInfo,
    find_recordings,
    gather,
    join_kinds,
)
from keras_emo.errors import Reason, UsageError
from keras_emo.extensions import load_extensions
from keras_emo.media.reader import ClipSource

AUTO = "auto"
GROUP = "keras_emo.corpora"  # of entry points: modules of other packages that register a corpus

Parse = Callable[[Found, Path], NameInfo | None]
Join = Callable[[Mapping[str, Found]], ClipSource]


@dataclass(frozen=True)
class CorpusEntry:
    """A registered corpus.

    parse: what a file of a folder (the second argument) is; None: not wanted; raises
    BadNameError for a name that is not this corpus's. join: the files of a sample, by role, as
    one source. license: of networks trained on it. about: a sentence for their model cards.
    marked: whether a folder has the corpus's own mark, for one whose file names are those of
    the corpus like.
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
    """Decorator that registers a corpus under a name, with the function that reads file names."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == AUTO:
        raise ValueError(f"not a valid name of a corpus: {name!r}")

    def enter(parse: Parse) -> Parse:
        if name in CORPORA:
            raise ValueError(f"a corpus named {name} is registered already")
        CORPORA[name] = CorpusEntry(name, parse, join, license, about, marked, like)
        return parse

    return enter


def known_corpora() -> Mapping[str, CorpusEntry]:
    """Every corpus in the order of names: this project's and those of installed packages."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    load_extensions(GROUP)
    return dict(sorted(CORPORA.items()))


def read_corpus(root: Path, kind: str = AUTO, skip_bad: bool = False) -> Corpus:
    """Samples of a registered corpus.

    kind: its name, or "auto": the one whose mark the folder has, or that most file names match.
    Raises UsageError where there is no folder, no clip or no such kind; CorpusError with every
    problem, unless skip_bad.
    """
    root = Path(os.path.abspath(root))
    entry = _choose(root, kind)
    return gather(root, entry.name, lambda f: entry.parse(f, root), entry.join, skip_bad)


def _choose(root: Path, kind: str) -> CorpusEntry:
    known = known_corpora()
    if kind not in (AUTO, *known):
        cause = f"no such corpus; known are {', '.join((AUTO, *known))}"
        raise UsageError(kind, Reason.BAD_CONFIG, cause)
    for entry in known.values():
        if entry.marked and kind in (AUTO, entry.name, entry.like) and entry.marked(root):
            return entry
    if kind == AUTO:
        return _recognize(root, [e for e in known.values() if not e.marked])
    if known[kind].marked and root.is_dir():
        raise UsageError(root, Reason.BAD_CONFIG, f"the folder has no mark of {kind}")
    return known[kind]


def _recognize(root: Path, entries: list[CorpusEntry]) -> CorpusEntry:
    """The entry that most file names match, the first of several."""
    found, problems = find_recordings(root)
    counts = {e.name: sum(_parses(e, f, root) for f in found) for e in entries}
    if not any(counts.values()):
        if problems:
            raise CorpusError(root, problems)
        n_media = sum(f.kind != "frames" for f in found)
        cause = f"{n_media} recordings, none named as in {' or '.join(counts)}"
        raise UsageError(root, Reason.NO_CLIPS, cause)
    return max(entries, key=lambda e: counts[e.name])


def _parses(entry: CorpusEntry, found: Found, root: Path) -> bool:
    try:
        entry.parse(found, root)
    except BadNameError:
        return False
    return True
