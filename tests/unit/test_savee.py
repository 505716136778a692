from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpora.savee import EMOTION_OF, SPEAKERS, parse_savee
from keras_emo.data.corpus import BadNameError, Corpus
from keras_emo.errors import Reason
from keras_emo.media.reader import ClipSource

from .named_files import list_problems, put


def read_savee(root: Path, skip_bad: bool = False) -> Corpus:
    return read_corpus(root, "savee", skip_bad)


@given(st.text() | st.from_regex(r"([A-Z]{2}_)?[a-z]{0,3}\d{0,3}\s?"))
def test_any_name_is_parsed_or_refused(stem):
    try:
        _, emotion, number = parse_savee(stem)
    except BadNameError as e:
        refusal = e
    else:
        assert emotion in EMOTION_OF
        assert stem.lower().endswith((f"{emotion}{number}", f"{number:02d}"))
        return
    assert refusal.reason in (Reason.BAD_NAME, Reason.UNKNOWN_CODE)
    assert refusal.cause


BAD_NAMES = {
    Reason.BAD_NAME: ["", "a", "01", "a001", "a01 (1)", "a01\n", "sad01", "DCa01"],
    Reason.UNKNOWN_CODE: ["s01", "x01", "a00", "XX_a01"],
}


@pytest.mark.parametrize(("reason", "stem"), [(r, s) for r in BAD_NAMES for s in BAD_NAMES[r]])
def test_bad_names(stem, reason):
    with pytest.raises(BadNameError) as caught:
        parse_savee(stem)
    assert caught.value.reason is reason


def test_clip_pairs_with_wave(tmp_path):
    video = put(tmp_path, "AudioVisualClip/DC/sa1.avi")
    audio = put(tmp_path, "AudioData/DC/sa01.wav")
    alone = put(tmp_path, "AudioVisualClip/DC/su1.avi")
    sample, other = read_savee(tmp_path).samples
    assert other.source == ClipSource(video=alone)
    assert sample.sample_id == "savee/DC/sa01"
    assert (sample.corpus, sample.speaker, sample.gender) == ("savee", "savee/DC", "male")
    assert sample.emotion == "sad"
    assert sample.source == ClipSource(video=video, audio=audio)


SEVEN = {
    "a": "angry", "d": "disgust", "f": "fear", "h": "happy", "n": "neutral", "sa": "sad",
    "su": "surprise",
}  # fmt: skip


@pytest.mark.parametrize("letters", SEVEN)
def test_the_seven_codes(letters, tmp_path):
    """As the corpus documents them."""
    put(tmp_path, f"AudioData/JK/{letters}15.wav")
    (sample,) = read_savee(tmp_path).samples
    assert (sample.sample_id, sample.emotion) == (f"savee/JK/{letters}15", SEVEN[letters])


def test_names_collide_between_speakers(tmp_path):
    for speaker in SPEAKERS:
        put(tmp_path, f"{speaker}/f10.wav")
    samples = read_savee(tmp_path).samples
    assert [t.sample_id for t in samples] == [f"savee/{s}/f10" for s in SPEAKERS]
    assert [t.speaker for t in samples] == [f"savee/{s}" for s in SPEAKERS]


@pytest.mark.parametrize(
    "name", ["DC/a01.wav", "DC/audio/a01.wav", "ALL/DC_a01.wav", "DC/DC_a01.wav", "dc/A01.WAV"]
)
def test_layouts(tmp_path, name):
    path = put(tmp_path, name)
    (sample,) = read_savee(tmp_path).samples
    assert sample.sample_id == "savee/DC/a01"
    assert sample.source == ClipSource(audio=path)


def test_root_may_be_one_speaker(tmp_path, monkeypatch):
    put(tmp_path, "KL/a01.wav")
    assert read_savee(tmp_path / "KL").samples[0].speaker == "savee/KL"
    monkeypatch.chdir(tmp_path / "KL")
    assert read_corpus(Path(".")).samples[0].speaker == "savee/KL"


def test_face_pictures_pair_with_wave(tmp_path):
    pictures = [put(tmp_path, f"faces/JE/su3/{i}.png") for i in (9, 10)]
    audio = put(tmp_path, "AudioData/JE/su03.wav")
    put(tmp_path, "faces/JE/img01/1.png")  # no sample's name
    (sample,) = read_savee(tmp_path).samples
    assert sample.source == ClipSource(audio=audio, frames=tuple(pictures))


def test_all_problems_at_once(tmp_path):
    for name in ("DC/a01.wav", "DC/clip.wav", "DC/s01.wav", "DC/JE_a01.wav", "DC/x1/1.png",
                 "a02.wav", "DC/._a04.wav", "Info.txt"):  # fmt: skip
        put(tmp_path, name)
    put(tmp_path, "DC/a03.wav", "")
    expected = {
        "DC/clip.wav": Reason.BAD_NAME,
        "DC/s01.wav": Reason.UNKNOWN_CODE,
        "DC/JE_a01.wav": Reason.BAD_NAME,
        "DC/x1": Reason.UNKNOWN_CODE,
        "a02.wav": Reason.BAD_NAME,
        "DC/a03.wav": Reason.EMPTY_FILE,
    }
    assert list_problems(read_savee, tmp_path) == expected
    (sample,) = read_savee(tmp_path, skip_bad=True).samples
    assert sample.sample_id == "savee/DC/a01"
