"""The built-in corpus: RAVDESS's file names, and the mark that its generator leaves."""

from __future__ import annotations

import json
from pathlib import Path

from keras_emo.data.corpora.ravdess import describe_ravdess, join_ravdess
from keras_emo.data.corpora.registry import register_corpus
from keras_emo.data.corpus import NameInfo
from keras_emo.data.recordings import Found
from keras_emo.errors import Reason, UsageError

# Spelled out: importing keras_emo.demo_corpus would import its encoder.
GENERATORS = ("keras_emo.demo_corpus", "keras_emo.builtin")


def is_marked(root: Path) -> bool:
    """Whether the folder has the generator's mark. Raises UsageError for a damaged one."""
    path = root / "corpus.json"
    if not path.is_file():
        return False
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:  # a guess would take it for RAVDESS
        raise UsageError(path, Reason.UNREADABLE, f"not JSON: {e}") from None
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
