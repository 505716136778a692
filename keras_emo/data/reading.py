"""Reads a corpus of whatever kind."""

from __future__ import annotations

import os
from pathlib import Path

from keras_emo.data.corpora.registry import AUTO, CorpusEntry, known_corpora
from keras_emo.data.corpus import BadNameError, Corpus, CorpusError, gather
from keras_emo.data.recordings import Found, walk
from keras_emo.errors import Reason, UsageError


def read_corpus(root: Path, kind: str = AUTO, skip_bad: bool = False) -> Corpus:
    """Takes of a registered corpus.

    kind: its name, or "auto": the one whose mark the folder bears, or whose names are in the
    majority. Raises UsageError where there is no folder, no clip or no such kind; CorpusError
    with every problem, unless skip_bad.
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
        raise UsageError(root, Reason.BAD_CONFIG, f"the folder bears no mark of {kind}")
    return known[kind]


def _recognize(root: Path, entries: list[CorpusEntry]) -> CorpusEntry:
    """The entry that reads most names, the first of several."""
    found, problems = walk(root)
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
