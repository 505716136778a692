"""Train, validation and test speakers: nobody is in two parts."""

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

PARTS = ("train", "val", "test")
SPLIT_FILE = "split.json"

# Test actors of five folds over RAVDESS's actors 1 to 20, each tested once.
RAVDESS_FOLDS: tuple[tuple[str, ...], ...] = (
    ("01", "11", "20", "02"),
    ("04", "10", "12", "14"),
    ("08", "09", "19", "03"),
    ("05", "07", "16", "15"),
    ("06", "13", "17", "18"),
)


@dataclass(frozen=True)
class Split:
    """Speakers of each part, sorted: two splits with the same people are equal."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in PARTS:
            object.__setattr__(self, part, tuple(sorted(getattr(self, part))))

    def part_of(self, sample: Sample) -> str | None:
        """One of PARTS, or None for a speaker the split does not know."""
        return next((part for part in PARTS if sample.speaker in getattr(self, part)), None)

    def to_dict(self) -> dict[str, list[str]]:
        return {part: list(getattr(self, part)) for part in PARTS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Inverse of to_dict. Raises UsageError on anything else."""
        if not isinstance(data, Mapping) or set(data) != set(PARTS):
            raise _bad(f"a split has exactly {', '.join(PARTS)}")
        for part in PARTS:
            speakers = data[part]
            if not isinstance(speakers, list | tuple) or not all(
                isinstance(s, str) for s in speakers
            ):
                raise _bad(f"{part} is not a list of speakers")
        return cls(*(tuple(data[part]) for part in PARTS))

    def digest(self) -> str:
        """16 hexadecimal digits that name this split."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return digest_text(text)[:16]


def make_split(
    samples: Sequence[Sample],
    test: Sequence[str],
    val: Sequence[str] | int = 2,
    seed: int = 0,
) -> Split:
    """Split by speaker: test and val as named, everybody else trains.

    Speakers: "ravdess/11", "11", "1" or "DC". val: names, or how many to draw from the rest,
    as many men as women where possible, the same ones for the same seed; 0 or no names: nobody
    validates and one more learns. Raises UsageError on unknown speakers and on whatever
    assert_disjoint refuses.
    """
    genders = {t.speaker: t.gender for t in samples}
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
    """make_split with the test actors of RAVDESS_FOLDS[fold]."""
    if fold not in range(len(RAVDESS_FOLDS)):
        raise _bad(f"no fold {fold}; they are 0 to {len(RAVDESS_FOLDS) - 1}")
    return make_split(samples, RAVDESS_FOLDS[fold], val, seed)


def select(samples: Iterable[Sample], split: Split, part: str) -> list[Sample]:
    """Takes of one part, in their order."""
    if part not in PARTS:
        raise _bad(f"no part {part!r}; they are {', '.join(PARTS)}")
    speakers = set(getattr(split, part))
    return [t for t in samples if t.speaker in speakers]


def assert_disjoint(split: Split, samples: Sequence[Sample]) -> None:
    """Raise UsageError unless no speaker, take or file is in two parts and each part serves.

    Each part needs takes, but for validation and test without speakers; train needs all the
    emotions.
    Same bytes under two names are the corpus readers' business.
    """
    owners: dict[tuple[str, str], str] = {}

    def claim(what: str, key: str, part: str) -> None:
        owner = owners.setdefault((what, key), part)
        if owner != part:
            raise _bad(f"{what} {key} is in {owner} and in {part}")

    for part in PARTS:
        for speaker in getattr(split, part):
            claim("speaker", speaker, part)
    for part in PARTS:
        chosen = select(samples, split, part)
        # a shipped network may train on everybody
        if not chosen and (part == "train" or getattr(split, part)):
            raise _bad(f"{part} has no takes")
        for sample in chosen:
            claim("take", sample.sample_id, part)
            for path in sample.source.files:
                claim("file", os.path.realpath(path), part)
        if part == "train":
            missing = [e for e in EMOTIONS if e not in {t.emotion for t in chosen}]
            if missing:
                raise _bad(f"train has no takes of {', '.join(missing)}")


def check_split(split: Mapping[str, Any]) -> None:
    """Raise ValueError, TypeError or KeyError for what is not a split as to_dict gives it."""
    try:
        Split.from_dict(split)
    except UsageError as e:
        raise ValueError(e.cause) from None


def read_split(path: Path) -> dict[str, Any]:
    """split.json of a run, its digest too. Raises UsageError for one that is damaged."""
    split = read_record(path)
    with naming_content(path):
        check_split({part: split[part] for part in PARTS})
    return split


def check_scored(metrics: Mapping[str, Any], split: Mapping[str, Any]) -> None:
    """Raise KeyError for validation or test speakers of a split that metrics say nothing of."""
    for part in PARTS[1:]:
        if split[part] and part not in metrics:
            raise KeyError(part)


def resolve_speakers(names: Sequence[str], known: Iterable[str], part: str) -> set[str]:
    """Whole speaker ids for names as "11", "1", "DC" or "ravdess/11". Raises UsageError."""
    if isinstance(names, str):
        names = (names,)
    speakers, chosen, unknown = sorted(known), set(), []
    for name in map(str, names):
        matches = [s for s in speakers if _matches(name, s)]
        if len(matches) > 1:
            raise _bad(f"{part}: {name} may be {' or '.join(matches)}; give the whole name")
        if matches:
            chosen.add(matches[0])
        else:
            unknown.append(name)
    if unknown:
        cause = f"{part}: unknown speaker {', '.join(unknown)}; known are {', '.join(speakers)}"
        raise _bad(cause)
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
