"""Corpora by name: registered here, in modules of this project and in installed packages."""

import sys

import pytest

from keras_emo.data.corpora import CORPORA, GROUP, known_corpora, read_corpus, register_corpus
from keras_emo.data.corpus import BadNameError, NameInfo
from keras_emo.errors import EnvironmentFailure, ExitCode, Reason, UsageError
from keras_emo.extensions import load_extensions

from .named_files import list_problems, put


@pytest.fixture(autouse=True)
def _registry_stays():
    """What a test adds is gone after it, the modules too: they register once."""
    known = set(known_corpora())
    load_extensions.cache_clear()
    yield
    for name in CORPORA.keys() - known:
        del CORPORA[name]
    sys.modules.pop("own_corpus", None)
    load_extensions.cache_clear()


def test_those_of_this_project():
    assert list(known_corpora()) == ["builtin", "ravdess", "savee"]
    assert all(e.license and e.about for e in known_corpora().values())


@pytest.fixture
def installed(make, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(make.example(tmp_path / "site", GROUP, "own_corpus"))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["auto", "folders"])
def test_one_of_an_installed_package(tmp_path, kind):
    names = ("anna_f/angry_01.mp4", "anna_f/sad_02.mp4", "ben_m/angry_01.mp4", "ben_m/angry_01.wav")
    root = tmp_path / "data"
    for name in names:
        put(root, name)
    corpus = read_corpus(root, kind)
    assert corpus.name == "folders"
    assert [(t.sample_id, t.speaker, t.gender, t.emotion) for t in corpus.samples] == [
        ("folders/anna/angry_01", "folders/anna", "female", "angry"),
        ("folders/anna/sad_02", "folders/anna", "female", "sad"),
        ("folders/ben/angry_01", "folders/ben", "male", "angry"),
    ]
    assert corpus.samples[2].source.audio == root / "ben_m/angry_01.wav"


@pytest.mark.usefixtures("installed")
def test_its_bad_names_are_told_all_at_once(tmp_path):
    names = ("anna_f/angry_01.mp4", "anna_f/cross_02.mp4", "ben/angry_01.mp4")
    root = tmp_path / "data"
    for name in names:
        put(root, name)
    assert list_problems(read_corpus, root) == {
        "anna_f/cross_02.mp4": Reason.UNKNOWN_CODE,
        "ben/angry_01.mp4": Reason.BAD_NAME,
    }
    assert len(read_corpus(root, skip_bad=True).samples) == 1


def test_without_it_the_names_mean_nothing(tmp_path):
    with pytest.raises(UsageError, match="none named as in ravdess or savee"):
        read_corpus(put(tmp_path, "anna_f/angry_01.mp4").parents[1])


def test_a_package_that_cannot_be_imported_is_told(tmp_path, monkeypatch, make):
    site = make.example(tmp_path / "site", GROUP, "own_corpus")
    (site / "own_corpus.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(EnvironmentFailure, match="no_such_module") as caught:
        read_corpus(put(tmp_path, "data/anna_f/angry_01.mp4").parents[1])
    assert (caught.value.path, caught.value.reason) == ("own_corpus", Reason.BAD_EXTENSION)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT


@pytest.mark.parametrize("name", ["ravdess", "auto", "", "My corpus", "../x"])
def test_names_that_are_refused(name):
    with pytest.raises(ValueError, match="corpus"):
        register_corpus(name, license="none", about="none")(lambda found, root: None)


def test_an_emotion_that_is_none_of_the_seven():
    with pytest.raises(BadNameError, match="known are angry"):
        NameInfo("a/1", "a/b", "female", "bored", "video")
