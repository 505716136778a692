"""Splits of any corpus: disjoint and complete, or refused."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from keras_emo.data.corpus import Sample
from keras_emo.data.splits import PARTS, Split, make_split, select
from keras_emo.errors import Reason, UsageError
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource

names = st.from_regex(r"[a-z]{1,3}/[0-9A-Z]{1,3}", fullmatch=True)


@st.composite
def corpora(draw):
    """Takes of a few speakers; some lack emotions, some share a file with another."""
    samples = []
    for speaker in draw(st.lists(names, min_size=1, max_size=8, unique=True)):
        gender = draw(st.sampled_from(["male", "female"]))
        rare = draw(st.integers(0, 4)) == 0
        for emotion in EMOTIONS[:3] if rare else EMOTIONS:
            shared = draw(st.integers(0, 200)) == 0
            path = Path("/none/shared.mp4" if shared else f"/none/{speaker}-{emotion}.mp4")
            sample_id = f"{speaker}/{emotion}"
            samples.append(Sample(sample_id, "c", speaker, gender, emotion, ClipSource(video=path)))
    return samples


@given(corpora(), st.data(), st.integers(-1, 4), st.integers())
def test_parts_are_disjoint_or_refused(samples, data, n_val, seed):
    speakers = sorted({t.speaker for t in samples})
    chosen = data.draw(st.lists(st.sampled_from([*speakers, "0", "A", "x/9"]), max_size=4))
    try:
        split = make_split(samples, chosen, n_val, seed)
    except UsageError as e:
        refusal = e
    else:
        check_whole(split, samples, speakers)
        assert make_split(samples[::-1], chosen[::-1], n_val, seed) == split
        return
    assert refusal.reason is Reason.BAD_SPLIT


def check_whole(split: Split, samples: list[Sample], speakers: list[str]) -> None:
    assert sorted(split.train + split.val + split.test) == speakers
    parts = [select(samples, split, part) for part in PARTS]
    assert sum(map(len, parts)) == len(samples)
    files = [{f for t in part for f in t.source.files} for part in parts]
    assert len(set().union(*files)) == sum(map(len, files))
    assert {t.emotion for t in parts[0]} == set(EMOTIONS)


people = st.lists(st.text(max_size=5), max_size=5)
splits = st.builds(Split, *[people.map(tuple)] * 3)


@given(splits)
def test_splits_are_stored_as_they_are(split):
    again = Split.from_dict(json.loads(json.dumps(split.to_dict())))
    assert again == split
    assert again.digest() == split.digest()


values = st.none() | st.booleans() | st.floats() | st.text() | people | st.lists(st.none())


@given(st.dictionaries(st.sampled_from([*PARTS, "more"]), values) | values)
def test_anything_is_a_split_or_refused(data):
    try:
        split = Split.from_dict(data)
    except UsageError as e:
        refusal = e
    else:
        assert split.to_dict() == {part: sorted(data[part]) for part in PARTS}
        return
    assert refusal.reason is Reason.BAD_SPLIT
