import json
import subprocess
import sys

import pytest

from keras_emo.errors import ExitCode, Reason, UsageError
from keras_emo.training.config import (
    DEFAULT_STAGES,
    StageConfig,
    TrainConfig,
    default_stage,
    order_stages,
    read_config,
)

FULL = """
[run]
preset = "faithful"
seed = 7
test = ["1", "ravdess/11"]
val = ["3"]
stages = ["fusion_concat", "audio_cnn"]

[clip.face]
size_px = 96
margin = 0.2
[clip.audio]
duration_s = 2.5

[waves]
n_variants = 2
stretch = [0.9, 1.1]
[faces]
flip = false
[mfcc]
time_masks = 0

[stage.audio_cnn]
epochs = 3
learning_rate = 5e-4
[stage.audio_cnn.mfcc]
noise = 0.0
[model.audio_cnn]
dropout = 0.4
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path, *mentioned: str, reason=Reason.BAD_CONFIG, changes=None) -> None:
    """Reading fails with a usage error that names the file and all that is mentioned."""
    with pytest.raises(UsageError) as caught:
        read_config(path, changes)
    assert caught.value.reason is reason
    assert caught.value.exit_code is ExitCode.USAGE
    for text in (str(path or "options"), *mentioned):
        assert text in str(caught.value)


def test_defaults():
    config = read_config(None)
    assert config == TrainConfig()
    assert config.stages == DEFAULT_STAGES


def test_every_table_is_read(write):
    config = read_config(write(FULL))
    assert (config.preset, config.seed, config.val) == ("faithful", 7, ("3",))
    assert config.test == ("1", "ravdess/11")
    assert config.stages == ("audio_cnn", "fusion_concat")  # in the order of training
    assert (config.clip.face.size_px, config.clip.face.margin) == (96, 0.2)
    assert config.clip.audio.duration_s == 2.5
    assert (config.waves.n_variants, config.waves.stretch) == (2, (0.9, 1.1))
    assert not config.faces.flip
    assert config.mfcc.time_masks == 0
    own = config.mfcc_of("audio_cnn")
    assert (own.time_masks, own.noise) == (0, 0.0)
    assert config.mfcc_of("audio_lstm") == config.mfcc
    stage = config.of_stage("audio_cnn")
    assert (stage.epochs, stage.learning_rate) == (3, 5e-4)
    assert stage.patience == default_stage("audio_cnn", "faithful").patience
    assert config.of_stage("fusion_concat") == default_stage("fusion_concat", "faithful")
    assert config.model == {"audio_cnn": {"dropout": 0.4}}


def test_options_override_the_file(write):
    path = write(FULL)
    config = read_config(path, {"seed": 9, "test": None, "val": 3, "stages": ("audio_lstm",)})
    assert (config.seed, config.val, config.stages) == (9, 3, ("audio_lstm",))
    assert config.test == ("1", "ravdess/11")  # None: not given


def test_epochs_override_every_stage_of_the_run(write):
    config = read_config(write(FULL), {"epochs": 2})
    assert {config.of_stage(name).epochs for name in config.stages} == {2}
    assert config.of_stage("audio_cnn").learning_rate == 5e-4
    assert config.to_dict()["stage"]["fusion_concat"]["epochs"] == 2
    assert config.of_stage("audio_lstm").epochs == default_stage("audio_lstm", "faithful").epochs
    assert read_config(write("[run]\nepochs = 4")).of_stage("audio_cnn").epochs == 4


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("[run]\nstages = ['audio_cnn', 'rnn']", "rnn"),
        ("[stage.rnn]\nepochs = 3", "rnn"),
        ("[trian]\nseed = 1", "trian"),
        ("seed = 1", "seed"),
        ("[run]\nsede = 1", "sede"),
        ("[run]\npreset = 'huge'", "huge"),
        ("[stage.audio_cnn]\nepoch = 3", "epoch"),
        ("[clip.face]\nsize = 3", "size"),
        ("[clip.face]\nsize_px = 3", "size_px is 3, it can be from 16 to 1024"),
        ("[clip.audio]\nn_mfcc = 200", "n_mfcc is 200"),
        ("[clip.fase]\nsize_px = 96", "fase"),
        ("[clip]\nsize_px = 96", "size_px"),
        ("[waves]\nstrech = [1, 2]", "strech"),
        ("[faces]\nflop = true", "flop"),
        ("[mfcc]\nmask = 1", "mask"),
        ("[model.rnn]\ndropout = 0.1", "rnn"),
        ("[stage.audio_cnn]\nepochs = 'many'", "epochs"),
        ("[stage.audio_cnn]\nmfcc = 3", "mfcc"),
        ("[stage.audio_cnn.mfcc]\nmask = 1", "stage.audio_cnn.mfcc"),
        ("[stage.audio_cnn.mfcc]\nnoise = 'low'", "noise"),
        ("[run]\nseed = 'x'", "seed"),
        ("[run\nseed = 1", "line 1"),
    ],
)
def test_what_is_wrong_is_named(text, mentioned, write):
    refused(write(text), mentioned)


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path / "gone.toml", reason=Reason.NOT_FOUND)
    refused(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[run]\npreset = '\xe4'\n")
    refused(tmp_path / "latin.toml")


def test_bad_options_are_named():
    refused(None, "rnn", changes={"stages": ("rnn",)})
    refused(None, "huge", changes={"preset": "huge"})


# (epochs, batch, learning rate of compact and faithful, weight decay, label smoothing, patience)
LEARNED = {
    "pretrain": (12, 64, 1e-3, 1e-4, 1e-3, 0.1, 10),
    "visual_alexnet": (20, 32, 1e-3, 1e-4, 1e-3, 0.1, 10),
    "audio_cnn": (60, 32, 1e-3, 1e-4, 1e-3, 0.1, 20),
    "audio_lstm": (60, 32, 2e-3, 2e-3, 1e-3, 0.1, 20),
    "visual_residual": (10, 64, 1.5e-3, 1.5e-3, 0.02, 0.1, 10),
    "visual_clip": (40, 64, 5e-3, 5e-3, 0.0, 0.0, 40),
    "fusion_concat": (30, 64, 1e-3, 1e-4, 1e-3, 0.1, 10),
    "fusion_single_cnn": (60, 32, 0.05, 0.05, 0.0, 0.0, 60),
}


def test_every_kind_of_stage_has_its_settings():
    """The literal values of each kind; what is not listed is StageConfig's own default."""
    assert order_stages([*reversed(LEARNED)]) == tuple(LEARNED)
    for name, (epochs, batch, compact, faithful, decay, smoothing, patience) in LEARNED.items():
        for preset, rate in (("compact", compact), ("faithful", faithful)):
            assert default_stage(name, preset) == StageConfig(
                epochs=epochs, batch=batch, learning_rate=rate, weight_decay=decay,
                label_smoothing=smoothing, patience=patience,
            ), name  # fmt: skip
    assert set(TrainConfig().to_dict()["stage"]) == set(DEFAULT_STAGES)


@pytest.mark.parametrize("text", ["", FULL])
def test_settings_come_back_from_their_record(text, write):
    recorded = read_config(write(text)).to_dict()
    assert TrainConfig.from_dict(json.loads(json.dumps(recorded))).to_dict() == recorded


def test_the_catalog_needs_no_keras():
    """Reading options and settings loads neither Keras nor TensorFlow."""
    script = (
        "import sys, keras_emo.networks.catalog, keras_emo.training.config\n"
        "from keras_emo.training.config import read_config\n"
        "read_config(None, {'stages': ('pretrain', 'fusion_joint')})\n"
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
