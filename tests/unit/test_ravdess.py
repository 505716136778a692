import operator
import os
import pickle
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.data import corpus as corpus_module
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpora.ravdess import CODES, is_song, parse_ravdess
from keras_emo.data.corpus import BadNameError, Corpus, CorpusError
from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.io import digest_file
from keras_emo.media.reader import ClipSource

from .named_files import list_problems, put

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess"
FULL = "01-01-05-02-01-01-03"
VIDEO, AUDIO = "02" + FULL[2:], "03" + FULL[2:]
SAMPLE = "ravdess/" + FULL[3:]


def read_ravdess(root: Path, skip_bad: bool = False) -> Corpus:
    return read_corpus(root, "ravdess", skip_bad)


EMOTION_OF = {
    "01": "neutral", "02": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fear",
    "07": "disgust", "08": "surprise",
}  # fmt: skip


@pytest.mark.parametrize("code", EMOTION_OF)
def test_the_eight_codes(code, tmp_path):
    """As the corpus documents them; 02 is calm."""
    put(tmp_path, f"03-01-{code}-01-02-02-12.wav")
    (sample,) = read_ravdess(tmp_path).samples
    assert (sample.emotion, sample.gender) == (EMOTION_OF[code], "female")


almost_names = st.lists(st.text("0123456789", max_size=3), max_size=9).map("-".join)
valid_names = st.tuples(*(st.sampled_from(codes) for codes in CODES.values())).map("-".join)


@given(st.text() | almost_names | st.from_regex(r"\d{2}(-\d{2}){6}\s?") | valid_names)
def test_any_name_is_parsed_or_refused(stem):
    song = is_song(stem)
    try:
        name = parse_ravdess(stem)
    except BadNameError as e:
        refusal = e
    else:
        assert "-".join(name) == stem
        assert song == (stem[3:5] == "02")
        return
    assert refusal.reason in (Reason.BAD_NAME, Reason.UNKNOWN_CODE)
    assert refusal.cause
    if all(map(operator.contains, CODES.values(), stem.split("-"))) and len(stem) == 20:
        assert stem[6:11] == "01-02"  # a strong neutral


BAD_NAMES = {
    Reason.BAD_NAME: [
        "", "01-01-05-02-01-01", f"{FULL}-01", "1-1-5-2-1-1-3", f"{FULL} (1)", f"{FULL}\n",
        "01-01-05-02-01-01-٠٣",
    ],
    Reason.UNKNOWN_CODE: [
        "04-01-05-02-01-01-03", "01-03-05-02-01-01-03", "01-01-09-02-01-01-03",
        "01-01-05-03-01-01-03", "01-01-05-02-03-01-03", "01-01-05-02-01-00-03",
        "01-01-05-02-01-01-25", "01-01-05-02-01-01-00", "01-01-01-02-01-01-03",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "stem"), [(r, s) for r in BAD_NAMES for s in BAD_NAMES[r]])
def test_bad_names(stem, reason):
    with pytest.raises(BadNameError) as caught:
        parse_ravdess(stem)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "folder", ["", "Actor_03", "Video_Speech_Actor_03/Actor_03", "a/b/c/d/Actor_03"]
)
def test_layouts(tmp_path, folder):
    put(tmp_path, f"{folder}/{FULL}.mp4".lstrip("/"))
    put(tmp_path, f"{folder}/01-01-02-01-01-01-04.MP4".lstrip("/"))
    corpus = read_ravdess(tmp_path)
    assert [t.sample_id for t in corpus.samples] == ["ravdess/01-02-01-01-01-04", SAMPLE]
    woman, man = corpus.samples
    assert (man.speaker, man.gender, man.emotion) == ("ravdess/03", "male", "angry")
    assert (woman.speaker, woman.gender, woman.emotion) == ("ravdess/04", "female", "neutral")
    assert man.corpus == "ravdess"
    assert man.source == ClipSource(video=tmp_path / folder / f"{FULL}.mp4")
    assert (corpus.problems, corpus.notes) == ([], [])


@pytest.mark.parametrize(
    ("names", "video", "audio"),
    [
        ((f"V/{FULL}.mp4", f"V/{VIDEO}.mp4", f"A/{AUDIO}.wav"), 0, None),
        ((f"V/{VIDEO}.mkv", f"A/{AUDIO}.WAV"), 0, 1),
        ((f"{VIDEO}.mp4",), 0, None),
        ((f"{AUDIO}.flac",), None, 0),
        ((f"{VIDEO}.mp4", f"{FULL}.wav"), 0, 1),
        ((f"{AUDIO}.mp4",), None, 0),  # sound alone in a video container
        ((f"{VIDEO}.mp4", f"{VIDEO}/1.jpg"), 0, None),
        ((f"{FULL}.mp4", "preview/1.jpg", "cover.png"), 0, None),
        ((f"{FULL}.mp4", "01-02-05-02-01-01-03.mp4"), 0, None),  # a song
    ],
)
def test_files_of_one_sample(names, video, audio, tmp_path):
    """The full file, or else video and sound; one of them is enough."""
    paths = [put(tmp_path, name) for name in names]
    (sample,) = read_ravdess(tmp_path).samples
    expected = {"video": video, "audio": audio}
    found = {role: paths[i] for role, i in expected.items() if i is not None}
    assert (sample.sample_id, sample.source) == (SAMPLE, ClipSource(**found))


@pytest.mark.parametrize("stem", [FULL, VIDEO])
def test_face_pictures_pair_with_audio(tmp_path, stem):
    pictures = [put(tmp_path, f"faces/{stem}/frame_{i}.jpg") for i in (1, 2, 10, 11)]
    pictures.append(put(tmp_path, f"faces/{stem}/frame_100.PNG"))
    put(tmp_path, f"faces/{stem}/._frame_1.jpg")
    audio = put(tmp_path, f"sound/{AUDIO}.wav")
    samples = read_ravdess(tmp_path).samples
    assert [t.source for t in samples] == [ClipSource(audio=audio, frames=tuple(pictures))]


def test_bad_picture_folders(tmp_path):
    put(tmp_path, "02-01-09-01-01-01-01/1.jpg")
    put(tmp_path, "03-01-05-01-01-01-01/1.jpg")
    put(tmp_path, f"{VIDEO}/1.jpg", "")
    (tmp_path / "02-01-05-01-01-01-01").mkdir()
    assert list_problems(read_ravdess, tmp_path) == {
        "02-01-09-01-01-01-01": Reason.UNKNOWN_CODE,
        "03-01-05-01-01-01-01": Reason.UNKNOWN_CODE,
        f"{VIDEO}/1.jpg": Reason.EMPTY_FILE,
        "02-01-05-01-01-01-01": Reason.NO_FRAMES,
    }


def test_hidden_files_and_other_kinds_are_ignored(tmp_path):
    put(tmp_path, f"{FULL}.mp4")
    put(tmp_path, "01-02-05-02-01-01-04.mp4", "")  # a song, not even looked at
    for name in (
        f"._{FULL}.mp4", ".hidden.mp4", ".cache/bad.mp4", f"__MACOSX/Actor_03/._{FULL}.mp4",
        "Video_Speech_Actor_03.zip", "notes.txt", f"{FULL}.csv", "checksums",
    ):  # fmt: skip
        put(tmp_path, name)
    corpus = read_ravdess(tmp_path)
    assert (len(corpus.samples), corpus.problems) == (1, [])


BAD = {
    "Actor_03/clip.mp4": Reason.BAD_NAME,
    "Actor_03/01-01-09-01-01-01-03.mp4": Reason.UNKNOWN_CODE,
    "Actor_03/01-01-01-02-01-01-03.mp4": Reason.UNKNOWN_CODE,
    "Actor_25/01-01-03-01-01-01-25.mp4": Reason.UNKNOWN_CODE,
    "Actor_03/02-01-03-01-01-01-03.wav": Reason.UNKNOWN_CODE,
    "Actor_03/01-01-03-01-01-01-03.wmv": Reason.FORMAT_NOT_ALLOWED,
    "Actor_05/01-01-03-01-01-01-05.mp4": Reason.EMPTY_FILE,
}


def test_all_problems_at_once(tmp_path):
    put(tmp_path, f"{FULL}.mp4")
    for name in BAD:
        put(tmp_path, name, "" if BAD[name] is Reason.EMPTY_FILE else None)
    (tmp_path / "Actor_05/03-01-04-01-01-01-05.wav").symlink_to("nowhere")
    expected = BAD | {"Actor_05/03-01-04-01-01-01-05.wav": Reason.NOT_FOUND}
    with pytest.raises(CorpusError) as caught:
        read_ravdess(tmp_path)
    error = caught.value
    assert error.exit_code is ExitCode.REJECTED
    first, *lines = str(error).splitlines()
    assert f"{len(expected)} problems" in first
    assert len(lines) == len(expected)
    for name, reason in expected.items():
        assert sum(f"{str(tmp_path / name)!r}: {reason}: " in line for line in lines) == 1
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    corpus = read_ravdess(tmp_path, skip_bad=True)
    assert [t.sample_id for t in corpus.samples] == [SAMPLE]
    found = {p.path.relative_to(tmp_path).as_posix(): p.reason for p in corpus.problems}
    assert found == expected


def test_skip_bad_with_nothing_left(tmp_path):
    put(tmp_path, "clip.mp4")
    assert list_problems(lambda root: read_ravdess(root, skip_bad=True), tmp_path) == {
        "clip.mp4": Reason.BAD_NAME
    }


def test_damage_is_not_a_missing_modality(tmp_path):
    put(tmp_path, "01-01-03-01-01-01-05.mp4")
    put(tmp_path, f"{VIDEO}.mp4", "")
    put(tmp_path, f"{AUDIO}.wav")
    corpus = read_ravdess(tmp_path, skip_bad=True)
    assert [t.sample_id for t in corpus.samples] == ["ravdess/01-03-01-01-01-05"]


def test_unreadable_folder_is_a_problem(tmp_path, monkeypatch):
    put(tmp_path, f"{FULL}.mp4")
    put(tmp_path, "Actor_05/01-01-03-01-01-01-05.mp4")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("Actor_05"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_problems(read_ravdess, tmp_path) == {"Actor_05": Reason.UNREADABLE}


def test_file_that_fails_while_compared_is_a_problem(tmp_path, monkeypatch):
    put(tmp_path, "01-01-03-01-01-01-07.mp4", "one")
    bad = put(tmp_path, "01-01-03-01-01-02-07.mp4", "two")
    put(tmp_path, f"{FULL}.mp4")

    def refuse(path):
        if path == bad:
            raise OSError(5, "Input/output error")
        return digest_file(path)

    monkeypatch.setattr(corpus_module, "digest_file", refuse)
    assert list_problems(read_ravdess, tmp_path) == {bad.name: Reason.UNREADABLE}
    assert len(read_ravdess(tmp_path, skip_bad=True).samples) == 2


def test_folder_links_in_a_circle(tmp_path):
    put(tmp_path, f"Actor_03/{FULL}.mp4")
    (tmp_path / "Actor_03" / "back").symlink_to(tmp_path)
    assert len(read_ravdess(tmp_path).samples) == 1


def test_nested_copies_are_ignored(tmp_path):
    for name in (f"{FULL}.mp4", f"{AUDIO}.wav", "01-01-03-01-01-01-04.mp4"):
        put(tmp_path, f"Actor/{name}")
    put(tmp_path, "Actor/02-01-03-01-01-01-05/1.jpg")
    shutil.copytree(tmp_path / "Actor", tmp_path / "audio_speech" / "Actor")
    corpus = read_ravdess(tmp_path)
    assert (len(corpus.samples), corpus.notes) == (3, [])
    for sample in corpus.samples:
        assert all(path.is_relative_to(tmp_path / "Actor") for path in sample.source.files)


@pytest.mark.parametrize("content", ["other bytes", "x" * len(f"a/{FULL}.mp4")])
def test_two_contents_for_one_file_are_a_problem(tmp_path, content):
    put(tmp_path, f"a/{FULL}.mp4")
    put(tmp_path, f"b/{FULL}.mp4", content)
    put(tmp_path, "01-01-03-01-01-01-04.mp4")
    assert list_problems(read_ravdess, tmp_path) == {f"b/{FULL}.mp4": Reason.DUPLICATE}
    corpus = read_ravdess(tmp_path, skip_bad=True)
    assert [t.speaker for t in corpus.samples] == ["ravdess/04"]


def test_same_content_in_two_samples_is_noted(tmp_path):
    for fields, content in {"03-01-01-01": "same", "03-01-01-02": "same", "04-01-01-01": "also",
                            "05-01-01-01": "also"}.items():  # fmt: skip
        put(tmp_path, f"01-01-{fields}-07.mp4", content)
    corpus = read_ravdess(tmp_path)
    assert len(corpus.samples) == 4
    plain, conflict = sorted(corpus.notes, key=len)
    assert "01-01-03-01-01-02-07.mp4" in plain
    assert "angry and sad" in conflict


def test_same_content_of_two_speakers_is_a_problem(tmp_path):
    for name in ("01-01-03-01-01-01-07.mp4", "01-01-03-01-01-01-08.mp4"):
        put(tmp_path, name, "same")
    put(tmp_path, f"{FULL}.mp4")
    assert list_problems(read_ravdess, tmp_path) == {name: Reason.DUPLICATE}
    assert [t.sample_id for t in read_ravdess(tmp_path, skip_bad=True).samples] == [SAMPLE]


@pytest.mark.parametrize("kind", ["auto", "ravdess", "savee"])
def test_no_folder_and_no_clips(tmp_path, kind):
    for root, reason in [(tmp_path / "none", Reason.NOT_FOUND), (tmp_path, Reason.NO_CLIPS)]:
        with pytest.raises(UsageError) as caught:
            read_corpus(root, kind)
        assert (caught.value.reason, caught.value.exit_code) == (reason, ExitCode.USAGE)


def test_corpus_is_recognized(tmp_path):
    put(tmp_path, f"a/{FULL}.mp4")
    put(tmp_path, "a/01-01-03-01-01-01-04.mp4")
    put(tmp_path, "b/DC/a01.wav")
    assert [t.corpus for t in read_corpus(tmp_path / "a").samples] == ["ravdess"] * 2
    assert [t.corpus for t in read_corpus(tmp_path / "b").samples] == ["savee"]
    with pytest.raises(CorpusError, match=r"a01\.wav"):
        read_corpus(tmp_path)
    assert len(read_corpus(tmp_path, skip_bad=True).samples) == 2


@pytest.mark.parametrize(
    ("name", "kind", "match"),
    [
        ("01-02-05-02-01-01-03.mp4", "auto", "1 others not asked for"),  # a song
        ("clip.mp4", "auto", "1 recordings, none named"),
        ("clip.mp4", "iemocap", "auto, builtin, ravdess, savee"),
    ],
)
def test_nothing_to_read(tmp_path, name, kind, match):
    put(tmp_path, name)
    with pytest.raises(UsageError, match=match):
        read_corpus(tmp_path, kind)


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        ('{"generator": "keras_emo.demo_corpus"}', "builtin"),
        ('{"generator": "keras_emo.builtin"}', "builtin"),
        ('{"note": "made up"}', "builtin"),
        ('{"generator": "other"}', "ravdess"),
        ("[]", "ravdess"),
    ],
)
def test_builtin_corpus_is_marked(tmp_path, mark, name):
    put(tmp_path, f"{FULL}.mp4")
    put(tmp_path, "corpus.json", mark)
    assert read_corpus(tmp_path).name == name
    sample = read_corpus(tmp_path, "ravdess").samples[0]
    assert (sample.speaker, sample.sample_id) == (f"{name}/03", SAMPLE.replace("ravdess", name))


def test_missing_and_damaged_marks_are_refused(tmp_path):
    put(tmp_path, f"{FULL}.mp4")
    with pytest.raises(UsageError, match="no mark of builtin"):
        read_corpus(tmp_path, "builtin")
    put(tmp_path, "corpus.json", "{")
    with pytest.raises(UsageError, match=r"corpus\.json"):
        read_corpus(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_real_clips():
    corpus = read_corpus(REAL)
    assert (len(corpus.samples), corpus.problems) == (1200, [])
    assert len({t.speaker for t in corpus.samples}) == 20
