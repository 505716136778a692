"""Which settings of a run folder let the same command go on."""

import pytest

pytest.importorskip("keras")
pytest.importorskip("tensorflow")
from keras_emo.training.config import read_config
from keras_emo.training.run import _comparable, _differences

pytestmark = pytest.mark.tensorflow


def compare(there: str, asked: str, tmp_path) -> list[str]:
    """What is said of a folder with one configuration when another is asked for."""
    flat = []
    for name, text in (("there", there), ("asked", asked)):
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        flat.append(_comparable({"config": read_config(path).to_dict()}))
    return _differences(*flat)


VOICE = "[run]\nstages = ['audio_cnn']\n"


def test_the_same_settings_go_on(tmp_path):
    assert compare(VOICE, VOICE, tmp_path) == []
    assert compare(VOICE, "[run]\nstages = ['audio_cnn', 'audio_lstm']\n", tmp_path) == []


@pytest.mark.parametrize(
    "more",
    [
        "[stage.audio_cnn.mfcc]\nnoise = 0.0",
        "[model.audio_cnn]\nwidth = 0.5",
        "[mfcc]\nnoise = 0.0",
    ],
)
def test_a_setting_that_one_of_both_lacks_is_told(more, tmp_path):
    key = more.split("\n")[1].split(" ")[0]
    for there, asked in ((VOICE, VOICE + more), (VOICE + more, VOICE)):
        (told,) = compare(there, asked, tmp_path)
        assert key in told
