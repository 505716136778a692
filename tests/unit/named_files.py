"""Files whose names are what counts, and what a corpus reader says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from keras_emo.data.corpus import Corpus, CorpusError
from keras_emo.errors import Reason


def put(root: Path, name: str, content: str | None = None) -> Path:
    """A file whose bytes are its own, or content."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name if content is None else content)
    return path


def list_problems(read: Callable[[Path], Corpus], root: Path) -> dict[str, Reason]:
    """Every problem of a folder, by path below it."""
    with pytest.raises(CorpusError) as caught:
        read(root)
    return {p.path.relative_to(root).as_posix(): p.reason for p in caught.value.problems}
