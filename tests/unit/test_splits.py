import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.data.corpus import Sample
from keras_emo.data.splits import (
    RAVDESS_FOLDS,
    SPLITS,
    Split,
    assert_disjoint,
    check_scored,
    fold_split,
    make_split,
    select,
)
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource


def make_sample(speaker: str, gender: str, emotion: str, file: str = "") -> Sample:
    source = ClipSource(video=Path(file or f"/none/{speaker}-{emotion}.mp4"))
    return Sample(f"{speaker}/{emotion}", "c", speaker, gender, emotion, source)


def make_samples(speakers, genders=("male", "female")) -> list[Sample]:
    """One sample of each emotion for each speaker."""
    who = [(speaker, genders[i % len(genders)]) for i, speaker in enumerate(speakers)]
    return [make_sample(*one, emotion) for one in who for emotion in EMOTIONS]


ACTORS = [f"ravdess/{n:02d}" for n in range(1, 21)]
ACTORS_1_AND_11 = ("ravdess/01", "ravdess/11")
RAVDESS = make_samples(ACTORS)
SAVEE = make_samples([f"savee/{s}" for s in ("DC", "JE", "JK", "KL")], ("male",))


def refused(call, *args, match: str | None = None) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        call(*args)
    assert caught.value.reason is Reason.BAD_SPLIT
    assert caught.value.exit_code is ExitCode.USAGE


@given(st.integers(0, 50), st.sampled_from([2, 4, 6]))
def test_validation_is_balanced(seed, n):
    val = make_split(RAVDESS, ["1", "2"], n, seed).val
    assert sum(int(s[-2:]) % 2 for s in val) == n // 2


def test_validation_is_drawn():
    assert len({make_split(RAVDESS, ["1"], 2, seed).val for seed in range(10)}) > 1
    split = make_split(SAVEE, ["DC"], 2)  # there are only men
    assert (split.test, len(split.val), len(split.train)) == (("savee/DC",), 2, 1)


def test_speaker_names():
    assert make_split(RAVDESS, ["1", "01", "ravdess/01", " 11 "]).test == ACTORS_1_AND_11
    assert make_split(SAVEE, ["dc"], ["savee/je"]).val == ("savee/JE",)
    split = make_split(RAVDESS, ["1", "2"], ["3", "4"])
    assert (split.val, len(split.train)) == (("ravdess/03", "ravdess/04"), 16)


def test_refused_choices():
    refused(make_split, RAVDESS, ["99", "1", "XX"], match=r"unknown speaker 99; known are r")
    refused(make_split, RAVDESS, ["1"], ["77"], match="val: unknown speaker 77")
    refused(make_split, RAVDESS, ["1"], ["1"], match="ravdess/01 is in val and in test")
    for n in (-1, 19, 100):
        refused(make_split, RAVDESS, ["1"], n, match=f"val: {n} speakers of 19")
    refused(make_split, RAVDESS, ACTORS[:10], ACTORS[10:], match="train has no samples")
    both = RAVDESS + make_samples(["builtin/01"])
    refused(make_split, both, ["1"], match="builtin/01 or ravdess/01; give the whole name")
    assert make_split(both, ["builtin/01"]).test == ("builtin/01",)


@pytest.mark.parametrize("nobody", [0, ()])
def test_everybody_who_is_not_tested_may_train(nobody):
    split = make_split(RAVDESS, ["1", "2"], nobody)
    assert (split.val, len(split.train)) == ((), len(ACTORS) - 2)
    everybody = make_split(RAVDESS, [], nobody)  # of a network that is shipped
    assert (everybody.test, len(everybody.train)) == ((), len(ACTORS))
    assert len(fold_split(RAVDESS, 0, val=0).train) == 16


@pytest.mark.parametrize("part", ["val", "test"])
def test_speakers_of_a_split_must_have_been_scored(part):
    split = make_split(RAVDESS, ["1"])
    metrics = {"val": {}, "test": {}}
    check_scored(metrics, split)
    del metrics[part]
    with pytest.raises(KeyError, match=part):
        check_scored(metrics, split)
    check_scored(metrics, dataclasses.replace(split, **{part: ()}))


def test_train_needs_every_emotion():
    samples = [t for t in RAVDESS if t.emotion != "fear" or t.speaker == "ravdess/01"]
    refused(make_split, samples, ["1"], match="train has no samples of fear")
    assert make_split(samples, ["2"], ["3"]).test == ("ravdess/02",)


def test_shared_samples_and_files_are_refused(tmp_path):
    split = Split(("ravdess/01",), ("ravdess/02",), ("ravdess/03",))
    samples = [t for t in RAVDESS if t.speaker in ACTORS[:3]]
    assert_disjoint(split, samples)
    first, last = samples[0], samples[-1]

    twin = dataclasses.replace(last, sample_id=first.sample_id)
    refused(assert_disjoint, split, [*samples, twin], match=f"sample {first.sample_id}")

    thief = dataclasses.replace(last, source=first.source)
    refused(assert_disjoint, split, [*samples[:-1], thief], match="file .* is in train and in test")

    clip, link = tmp_path / "clip.mp4", tmp_path / "link.mp4"
    clip.write_bytes(b"clip")
    link.symlink_to(clip)
    samples[0] = dataclasses.replace(first, source=ClipSource(video=clip))
    samples[-1] = dataclasses.replace(last, source=ClipSource(audio=link))
    refused(assert_disjoint, split, samples, match="file .* is in train and in test")

    shared = Split(split.train, split.val, ("ravdess/01",))
    refused(assert_disjoint, shared, samples, match="speaker ravdess/01")


def test_digest_does_not_drift():
    assert Split(("a",), ("b",), ("c",)).digest() == "0dbb2ee679b6a73e"
    assert Split(("b", "a"), ("c",), ("d",)).digest() == Split(("a", "b"), ("c",), ("d",)).digest()
    assert Split(("a",), ("c",), ("b",)).digest() != Split(("a",), ("b",), ("c",)).digest()
    assert make_split(RAVDESS, RAVDESS_FOLDS[0], 2, 0).val == ("ravdess/09", "ravdess/10")


def test_folds_test_every_actor_once():
    splits = [fold_split(RAVDESS, fold) for fold in range(len(RAVDESS_FOLDS))]
    assert sorted(s for split in splits for s in split.test) == ACTORS
    assert all(len(s.test) == 4 and len(s.val) == 2 and len(s.train) == 14 for s in splits)
    for fold in (-1, 5):
        refused(fold_split, RAVDESS, fold, match="0 to 4")
    refused(fold_split, make_samples(ACTORS[:6]), 0, match="unknown speaker 11")
    assert fold_split(RAVDESS, 0, val=("3", "4")).val == ("ravdess/03", "ravdess/04")
    refused(fold_split, RAVDESS, 0, 0, ("1", "3"), match="ravdess/01")


names = st.from_regex(r"[a-z]{1,3}/[0-9A-Z]{1,3}", fullmatch=True)


@st.composite
def corpora(draw):
    """Samples of a few speakers; some lack emotions, some share a file with another."""
    samples = []
    for speaker in draw(st.lists(names, min_size=1, max_size=8, unique=True)):
        gender = draw(st.sampled_from(["male", "female"]))
        rare = draw(st.integers(0, 4)) == 0
        for emotion in EMOTIONS[:3] if rare else EMOTIONS:
            shared = "/none/shared.mp4" if draw(st.integers(0, 200)) == 0 else ""
            samples.append(make_sample(speaker, gender, emotion, shared))
    return samples


@given(corpora(), st.data(), st.integers(-1, 4), st.integers())
def test_splits_are_disjoint_or_refused(samples, data, n_val, seed):
    speakers = sorted({t.speaker for t in samples})
    chosen = data.draw(st.lists(st.sampled_from([*speakers, "0", "A", "x/9"]), max_size=4))
    try:
        split = make_split(samples, chosen, n_val, seed)
    except UsageError as e:
        refusal = e
    else:
        assert make_split(samples[::-1], chosen[::-1], n_val, seed) == split
        assert sorted(split.train + split.val + split.test) == speakers
        assert len(split.val) == n_val
        parts = [select(samples, split, part) for part in SPLITS]
        assert sum(map(len, parts)) == len(samples)
        files = [{f for t in part for f in t.source.files} for part in parts]
        assert len(set().union(*files)) == sum(map(len, files))
        assert {t.emotion for t in parts[0]} == set(EMOTIONS)
        return
    assert refusal.reason is Reason.BAD_SPLIT


people = st.lists(st.text(max_size=5), max_size=5)
splits = st.builds(Split, *[people.map(tuple)] * 3)


@given(splits)
def test_splits_are_stored_as_they_are(split):
    again = Split.from_dict(json.loads(json.dumps(split.to_dict())))
    assert again == split
    assert again.digest() == split.digest()
