"""Training, validation and test speakers: nobody is in two splits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_emo.data.corpus import Sample
from keras_emo.errors import Reason, UsageError
from keras_emo.io import digest_text, naming_content, read_record
from keras_emo.labels import EMOTIONS
from keras_emo.records import read_fields, write_fields

SPLITS = ("train", "val", "test")
SPLIT_FILE = "split.json"

# Test speakers of five folds over RAVDESS's actors 1 to 20, each tested once.
RAVDESS_FOLDS: tuple[tuple[str, ...], ...] = (
    ("01", "11", "20", "02"),
    ("04", "10", "12", "14"),
    ("08", "09", "19", "03"),
    ("05", "07", "16", "15"),
    ("06", "13", "17", "18"),
)


@dataclass(frozen=True)
class Split:
    """Speakers of each split, sorted: equal for the same people."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in SPLITS:
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))

    def to_dict(self) -> dict[str, list[str]]:
        return write_fields(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Inverse of to_dict; other entries are ignored. Raises ValueError."""
        return read_fields(cls, data)

    def digest(self) -> str:
        """16 hexadecimal digits that name this split."""
        return digest_text(json.dumps(self.to_dict(), sort_keys=True))[:16]


def make_split(
    samples: Sequence[Sample], test: Sequence[str], val: Sequence[str] | int = 2, seed: int = 0
) -> Split:
    """Split by speaker: test and val as named, everybody else is for training.

    Speakers: "ravdess/11", "11", "1" or "DC". val: names, or how many to draw from the rest,
    as many men as women if possible, the same ones for the same seed; 0 or no names: no
    validation. Raises UsageError on unknown speakers and on whatever assert_disjoint refuses.
    """
    genders = {s.speaker: s.gender for s in samples}
    tested = resolve_speakers(test, genders, "test")
    if isinstance(val, int):
        checked = _draw({s: g for s, g in genders.items() if s not in tested}, val, seed)
    else:
        checked = resolve_speakers(val, genders, "val")
    train = genders.keys() - tested - checked
    split = Split(tuple(train), tuple(checked), tuple(tested))
    assert_disjoint(split, samples)
    return split


def fold_split(
    samples: Sequence[Sample], fold: int, seed: int = 0, val: Sequence[str] | int = 2
) -> Split:
    """make_split with the test speakers of RAVDESS_FOLDS[fold]."""
    if fold not in range(len(RAVDESS_FOLDS)):
        raise _bad(f"no fold {fold}; they are 0 to {len(RAVDESS_FOLDS) - 1}")
    return make_split(samples, RAVDESS_FOLDS[fold], val, seed)


def select(samples: Iterable[Sample], split: Split, name: str) -> list[Sample]:
    """Samples of one of SPLITS, in their order."""
    speakers = set(getattr(split, name))
    return [s for s in samples if s.speaker in speakers]


def assert_disjoint(split: Split, samples: Sequence[Sample]) -> None:
    """Raise UsageError unless no speaker, sample or file is in two splits and each can be used.

    A split that has speakers needs samples; train needs speakers, and samples of all emotions.
    The same bytes under two names are found by the corpus readers.
    """
    owners: dict[tuple[str, str], str] = {}

    def claim(what: str, key: str, name: str) -> None:
        owner = owners.setdefault((what, key), name)
        if owner != name:
            raise _bad(f"{what} {key} is in {owner} and in {name}")

    for name in SPLITS:
        for speaker in getattr(split, name):
            claim("speaker", speaker, name)
    for name in SPLITS:
        chosen = select(samples, split, name)
        # a model that is shipped may be trained on everybody
        if not chosen and (name == "train" or getattr(split, name)):
            raise _bad(f"{name} has no samples")
        for sample in chosen:
            claim("sample", sample.sample_id, name)
            for path in sample.source.files:
                claim("file", os.path.realpath(path), name)
        if name == "train":
            present = {s.emotion for s in chosen}
            if missing := [e for e in EMOTIONS if e not in present]:
                raise _bad(f"train has no samples of {', '.join(missing)}")


def read_split(path: Path) -> Split:
    """split.json of a run. Raises UsageError for one that is damaged."""
    data = read_record(path)
    with naming_content(path):
        return Split.from_dict(data)


def check_scored(metrics: Mapping[str, Any], split: Split) -> None:
    """Raise KeyError if metrics lack a split that has validation or test speakers."""
    for name in SPLITS[1:]:
        if getattr(split, name) and name not in metrics:
            raise KeyError(name)


def resolve_speakers(names: Sequence[str], known: Iterable[str], role: str) -> set[str]:
    """Speakers by names such as "11", "1", "DC" or "ravdess/11". Raises UsageError.

    role: what they were named for, for errors.
    """
    speakers, chosen = sorted(known), set()
    for name in names:
        matches = [s for s in speakers if _matches(name, s)]
        if not matches:
            raise _bad(f"{role}: unknown speaker {name}; known are {', '.join(speakers)}")
        if len(matches) > 1:
            raise _bad(f"{role}: {name} may be {' or '.join(matches)}; give the whole name")
        chosen.add(matches[0])
    return chosen


def _matches(name: str, speaker: str) -> bool:
    name, speaker = name.strip().casefold(), speaker.casefold()
    if "/" in name:
        return name == speaker
    return name.zfill(2) == speaker.rpartition("/")[2]


def _draw(genders: Mapping[str, str], n: int, seed: int) -> set[str]:
    """n speakers, each next one of the gender drawn less so far."""
    if not 0 <= n < len(genders):
        raise _bad(f"val: {n} speakers of {len(genders)} that are not tested; train needs some")

    def rank(speaker: str) -> str:  # not random.sample: the same in every Python
        return digest_text(f"{seed}/{speaker}")

    queues = {
        g: sorted((s for s in genders if genders[s] == g), key=rank, reverse=True)
        for g in set(genders.values())
    }
    drawn: list[str] = []
    for _ in range(n):
        taken = [genders[s] for s in drawn]
        filled = [g for g in queues if queues[g]]
        gender = min(filled, key=lambda g: (taken.count(g), -len(queues[g]), g))
        drawn.append(queues[gender].pop())
    return set(drawn)


def _bad(cause: str) -> UsageError:
    return UsageError("split", Reason.BAD_SPLIT, cause)
