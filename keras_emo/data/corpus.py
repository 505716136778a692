"""Samples of a corpus: file names are read, bad files refused, copies left out."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from keras_emo.errors import ClipError, EmoError, Reason, UsageError, describe_error
from keras_emo.io import digest_file, digest_text
from keras_emo.labels import EMOTION_INDEX, EMOTIONS
from keras_emo.media.reader import IMAGE_SUFFIXES, ClipSource, check_file

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


@dataclass(frozen=True)
class Sample:
    """One labeled performance of one sentence, in one file or several: the unit of every count.

    sample_id leaves the modality out, so that the audio-only, video-only and full files of one
    performance are one sample: ``ravdess/01-05-02-01-01-03`` (channel-emotion-intensity-
    statement-repetition-actor), ``savee/DC/a01``.
    """

    sample_id: str
    corpus: str  # "ravdess" | "savee" | "builtin"
    speaker: str  # "ravdess/03", "savee/DC": what splits are made of
    gender: Literal["male", "female"]
    emotion: str  # one of keras_emo.labels.EMOTIONS
    source: ClipSource

    @property
    def label(self) -> int:
        return EMOTION_INDEX[self.emotion]


class CorpusError(EmoError):
    """Every problem of a corpus at once, one a line after the count."""

    def __init__(self, path: str | Path, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(path, self.problems[0].reason, count)
        self.args = (path, self.problems)  # as given, so that it pickles

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.problems)])


class BadNameError(ValueError):
    """A file name that is not a sample's. reason: BAD_NAME (another form) or UNKNOWN_CODE."""

    def __init__(self, reason: Reason, cause: str):
        super().__init__(reason, cause)
        self.reason, self.cause = reason, cause


@dataclass
class Corpus:
    """What a reader found.

    samples: by sample_id, each once. problems: what skip_bad left out. notes: samples of one
    speaker with the same bytes.
    """

    name: str
    samples: list[Sample]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NameInfo:
    """What a file name encodes: the sample that the file belongs to, and its role in it.

    sample_id, speaker: begin with the corpus and a slash. emotion: one of
    keras_emo.labels.EMOTIONS; raises BadNameError for another.
    """

    sample_id: str
    speaker: str
    gender: Literal["male", "female"]
    emotion: str
    role: str  # two files with one role of one sample are copies, or a problem

    def __post_init__(self) -> None:
        if self.emotion not in EMOTIONS:
            cause = f"emotion {self.emotion}, known are {', '.join(EMOTIONS)}"
            raise BadNameError(Reason.UNKNOWN_CODE, cause)


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


def gather(
    root: Path,
    name: str,
    parse: Callable[[Found], NameInfo | None],
    join: Callable[[Mapping[str, Found]], ClipSource],
    skip_bad: bool,
) -> Corpus:
    """Read a corpus: parse returns what a file is (None: not wanted), join makes the source.

    A sample with any bad file is left out whole, so that damage never passes for a missing
    modality. Raises CorpusError with every problem, unless skip_bad; UsageError where there is
    no folder or no clip.
    """
    found, problems = find_recordings(root)
    bad: set[str] = set()
    named: dict[Found, NameInfo] = {}
    n_unwanted = 0
    for item in found:
        try:
            info = parse(item)
        except BadNameError as e:
            # other pictures may lie around; only what looks like a sample is refused
            if item.kind != "frames" or e.reason is Reason.UNKNOWN_CODE:
                problems.append(Problem(item.path, e.reason, e.cause))
            continue
        if info is None:
            n_unwanted += 1
            continue
        if faults := _faults(item):
            problems += faults
            bad.add(info.sample_id)
        else:
            named[item] = info

    digests = _digests(named, problems, bad)
    kept = _drop_copies(named, digests, problems, bad)
    notes = _compare_samples(kept, named, digests, problems, bad)
    problems.sort(key=lambda p: str(p.path))

    samples = []
    for sample_id in sorted(kept.keys() - bad):
        roles = kept[sample_id]
        info = named[next(iter(roles.values()))]
        who = info.speaker, info.gender, info.emotion
        samples.append(Sample(sample_id, name, *who, join(roles)))
    if problems and not (skip_bad and samples):
        raise CorpusError(root, problems)
    if not samples:
        cause = f"no {name} clip ({n_unwanted} others not asked for)"
        raise UsageError(root, Reason.NO_CLIPS, cause)
    return Corpus(name, samples, problems, notes)


def choose_source(
    roles: Mapping[str, Found], picture: Iterable[str], sound: Iterable[str]
) -> ClipSource:
    """The first role present of each list, as one source."""
    face = next((roles[r] for r in picture if r in roles), None)
    voice = next((roles[r] for r in sound if r in roles), None)
    audio = voice.path if voice else None
    if face is not None and face.kind == "frames":
        return ClipSource(audio=audio, frames=face.files)
    return ClipSource(video=face.path if face else None, audio=audio)


def join_kinds(roles: Mapping[str, Found]) -> ClipSource:
    """For samples whose roles are kinds of file: the picture of a video, or of a folder of face
    pictures, and the sound of a sound file, or the video's own."""
    return choose_source(roles, picture=("video", "frames"), sound=("audio",))


def _faults(item: Found) -> list[Problem]:
    if item.kind == "other":
        cause = f"{item.path.suffix} is not read; convert it to .mp4 or .wav"
        return [Problem(item.path, Reason.FORMAT_NOT_ALLOWED, cause)]
    if not item.files:
        return [Problem(item.path, Reason.NO_FRAMES, "a folder of face pictures without any")]
    faults = []
    for path in item.files:
        try:
            check_file(path)
        except ClipError as e:
            faults.append(Problem(path, e.reason, e.cause))
    return faults


def _digests(
    named: dict[Found, NameInfo], problems: list[Problem], bad: set[str]
) -> dict[Found, str]:
    """sha256 of files whose size another has, the rest being no copies; unreadable ones go."""
    by_size: defaultdict[int, list[Found]] = defaultdict(list)
    for item in named:
        by_size[sum(os.path.getsize(p) for p in item.files)].append(item)
    digests = {}
    for item in (i for group in by_size.values() if len(group) > 1 for i in group):
        try:
            digests[item] = digest_text(" ".join(digest_file(p) for p in item.files))
        except OSError as e:
            problems.append(Problem(item.path, Reason.UNREADABLE, describe_error(e)))
            bad.add(named.pop(item).sample_id)
    return digests


def _drop_copies(
    named: Mapping[Found, NameInfo],
    digests: Mapping[Found, str],
    problems: list[Problem],
    bad: set[str],
) -> dict[str, dict[str, Found]]:
    """One file for each role of each sample, the least nested; copies of it are ignored."""
    kept: defaultdict[str, dict[str, Found]] = defaultdict(dict)
    for item in sorted(named, key=lambda f: (len(f.path.parts), str(f.path))):
        info = named[item]
        first = kept[info.sample_id].setdefault(info.role, item)
        if first is not item and (item not in digests or digests[item] != digests.get(first)):
            cause = f"the same file of {info.sample_id} as {str(first.path)!r}, other content"
            problems.append(Problem(item.path, Reason.DUPLICATE, cause))
            bad.add(info.sample_id)
    return kept


def _compare_samples(
    kept: Mapping[str, Mapping[str, Found]],
    named: Mapping[Found, NameInfo],
    digests: Mapping[Found, str],
    problems: list[Problem],
    bad: set[str],
) -> list[str]:
    """Notes on samples that share bytes; across speakers, which would cross a split, problems."""
    by_digest: defaultdict[str, list[Found]] = defaultdict(list)
    for item in (i for roles in kept.values() for i in roles.values() if i in digests):
        by_digest[digests[item]].append(item)
    notes = []
    for items in by_digest.values():
        infos = [named[i] for i in items]
        sample_ids = sorted({info.sample_id for info in infos})
        if len(sample_ids) == 1:
            continue
        if len({info.speaker for info in infos}) > 1:
            bad.update(sample_ids)
            for item in items[1:]:
                cause = f"same content as {str(items[0].path)!r}; they are of several speakers"
                problems.append(Problem(item.path, Reason.DUPLICATE, cause))
            continue
        labels = sorted({info.emotion for info in infos})
        conflict = f", labeled {' and '.join(labels)}" if len(labels) > 1 else ""
        notes.append(f"same content{conflict}: " + ", ".join(repr(str(i.path)) for i in items))
    return sorted(notes)
