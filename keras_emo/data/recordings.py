"""Recordings below a folder, whatever they are named."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keras_emo.errors import Reason, UsageError, describe_error
from keras_emo.media.reader import IMAGE_SUFFIXES

Kind = Literal["video", "audio", "frames", "other"]
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "video": (".mp4", ".avi", ".mov", ".mkv", ".webm"),
    "audio": (".wav", ".mp3", ".flac", ".m4a", ".ogg"),
    # not read: named in a problem, so that no sample is lost silently
    "other": (".wmv", ".mpg", ".mpeg", ".m4v", ".flv", ".3gp", ".aac", ".aiff", ".aif", ".opus"),
}


@dataclass(frozen=True)
class Problem:
    """One file that cannot be used, and why."""

    path: Path
    reason: Reason
    cause: str

    def __str__(self) -> str:
        return f"{str(self.path)!r}: {self.reason}: {self.cause}".replace("\n", " ")


@dataclass(frozen=True)
class Found:
    """One recording on disk: a media file, or a folder of face pictures in order."""

    path: Path
    kind: Kind
    files: tuple[Path, ...]

    @property
    def stem(self) -> str:
        return self.path.name if self.kind == "frames" else self.path.stem


def find_recordings(root: Path) -> tuple[list[Found], list[Problem]]:
    """Recordings under root at any depth, sorted by path, and the folders that can't be read.

    Hidden names (AppleDouble's ``._*`` among them) and other kinds of file are ignored;
    links are followed, each folder once. Raises UsageError where root is no folder.
    """
    if not root.is_dir():
        cause = "not a folder" if root.exists() else "no such folder"
        raise UsageError(root, Reason.NOT_FOUND, cause)
    found: list[Found] = []
    problems: list[Problem] = []

    def report(error: OSError) -> None:
        problems.append(Problem(Path(error.filename), Reason.UNREADABLE, describe_error(error)))

    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=report, followlinks=True):
        here = Path(folder)
        info = os.stat(here)
        if (info.st_dev, info.st_ino) in seen:  # a link back, or a second way in
            subfolders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
        pictures = []
        names = [n for n in names if not n.startswith(".")]
        for path in (here / n for n in names):
            suffix = path.suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                pictures.append(path)
            elif kind := next((k for k, known in SUFFIXES.items() if suffix in known), None):
                found.append(Found(path, kind, (path,)))
        if pictures or not (names or subfolders):
            found.append(Found(here, "frames", tuple(sorted(pictures, key=natural_key))))
    return sorted(found, key=lambda f: str(f.path)), problems


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Sort key by which ``frame_2`` comes before ``frame_10``."""
    pieces = re.split(r"([0-9]+)", path.name.lower())  # text and digits take turns
    return [int(p) if i % 2 else p for i, p in enumerate(pieces)], path.name
