"""Reads a corpus of whatever kind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from keras_emo.core.errors import Reason, UsageError
from keras_emo.data.corpus import BadNameError, Corpus, CorpusError, Found, walk
from keras_emo.data.ravdess import parse_ravdess, read_ravdess
from keras_emo.data.savee import describe_savee, read_savee

KINDS = ("auto", "ravdess", "savee")
# Spelt out, as importing data.builtin brings its encoder along.
BUILTIN_GENERATORS = ("keras_emo.data.builtin", "keras_emo.builtin")


def read_corpus(
    root: Path, kind: str = "auto", skip_bad: bool = False, *, song: bool = False
) -> Corpus:
    """Takes of a RAVDESS, SAVEE or built-in corpus.

    kind: "ravdess", "savee" or "auto", the one whose names are in the majority. song:
    RAVDESS's sung takes too. Raises UsageError where there is no folder, no clip or no such
    kind; CorpusError with every problem, unless skip_bad.
    """
    if kind not in KINDS:
        raise UsageError(kind, Reason.BAD_CONFIG, f"no such corpus; known are {', '.join(KINDS)}")
    root = Path(os.path.abspath(root))
    if kind == "auto":
        kind = _recognise(root)
    if kind == "savee":
        return read_savee(root, skip_bad=skip_bad)
    name = "builtin" if _is_builtin(root) else "ravdess"
    return read_ravdess(root, song=song, skip_bad=skip_bad, name=name)


def _recognise(root: Path) -> str:
    found, problems = walk(root)
    n_ravdess = sum(_parses(lambda f: parse_ravdess(f.stem), f) for f in found)
    n_savee = sum(_parses(lambda f: describe_savee(f, root), f) for f in found)
    if not n_ravdess and not n_savee:
        if problems:
            raise CorpusError(root, problems)
        n_media = sum(f.kind != "frames" for f in found)
        cause = f"{n_media} recordings, none named as in RAVDESS or SAVEE"
        raise UsageError(root, Reason.NO_CLIPS, cause)
    return "ravdess" if n_ravdess >= n_savee else "savee"


def _parses(parse: Callable[[Found], object], found: Found) -> bool:
    try:
        parse(found)
    except BadNameError:
        return False
    return True


def _is_builtin(root: Path) -> bool:
    """Whether the built-in generator left its mark. Raises UsageError on a damaged one."""
    path = root / "corpus.json"
    if not path.is_file():
        return False
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:  # a guess would pass it off as RAVDESS
        raise UsageError(path, Reason.UNREADABLE, f"not JSON: {e}") from None
    return isinstance(mark, dict) and (
        mark.get("generator") in BUILTIN_GENERATORS or "note" in mark
    )
