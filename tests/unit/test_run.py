"""The run folder: which settings let a run resume, and what its settings can be."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("keras")
pytest.importorskip("tensorflow")
from keras_emo.data.cache import CacheReport
from keras_emo.data.pipeline import Share
from keras_emo.data.splits import Split
from keras_emo.errors import ClipError, Reason, UsageError
from keras_emo.records import read_fields, write_fields
from keras_emo.training.config import RunManifest, TrainConfig, read_config
from keras_emo.training.distributed import Replicas
from keras_emo.training.run import Run, open_run

pytestmark = pytest.mark.tensorflow


def compare(there: str, asked: str, tmp_path) -> list[str]:
    """What is said of a folder with one configuration when another is asked for."""
    manifests = []
    for name, text in (("there", there), ("asked", asked)):
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        split = Split(("a",), (), ())
        manifest = RunManifest(read_config(path), split, "builtin", "0" * 16, {})
        manifests.append(read_fields(RunManifest, json.loads(json.dumps(write_fields(manifest)))))
    return manifests[0].list_differences(manifests[1])


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


@pytest.mark.parametrize(
    ("name", "setting", "value", "told"),
    [
        ("visual_residual", "test_zoom", 0.9, "zoom is 0.9, 1 or more"),
        ("audio_tdnn", "dropout", 1.5, "1.5"),
        ("audio_tdnn", "test_mel_shifts", 2, "int"),
        ("audio_tdnn", "test_mel_shifts", [], "one or more whole numbers"),
        ("audio_tdnn", "test_mel_shifts", [0, 1.5], "one or more whole numbers"),
        ("audio_tdnn", "units", "many", ""),
    ],
)
def test_a_value_no_network_can_have_is_told_in_one_line(name, setting, value, told):
    run = Run(Path("run"), TrainConfig(model={name: {setting: value}}), SimpleNamespace())
    with pytest.raises(UsageError) as caught:
        run.build(name)
    assert caught.value.reason is Reason.BAD_CONFIG
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert told in str(caught.value)


def test_a_clip_that_went_bad_during_training_is_the_error():
    run = Run(Path("run"), TrainConfig(), SimpleNamespace())
    run._train = SimpleNamespace(failure=ClipError("a.npz", Reason.UNREADABLE, "it is cut short"))
    with pytest.raises(ClipError, match="cut short"), run.naming_damage():
        raise RuntimeError("what tf.data makes of it")
    run._train.failure = None
    with pytest.raises(ZeroDivisionError), run.naming_damage():
        raise ZeroDivisionError


def prepared() -> SimpleNamespace:
    return SimpleNamespace(
        corpus=SimpleNamespace(name="builtin"), split=Split(("a",), ("b",), ()), cache=CacheReport()
    )


def test_what_alters_weights_belongs_to_a_run(tmp_path):
    """Precision and XLA do; how many workers there are does not."""
    config = TrainConfig(stages=("audio_tdnn",))
    half = read_config(None, {"mixed_precision": "bfloat16", "stages": config.stages})
    stage = replace(config.of_stage("audio_tdnn"), contrast=0.3)
    voice = replace(config, stage={"audio_tdnn": stage})
    for one, other, told in (
        (config, half, "config.mixed_precision is '', asked 'bfloat16'"),
        (half, config, "config.mixed_precision is 'bfloat16', asked ''"),
        (config, replace(config, xla=True), "config.xla is False, asked True"),
        (config, voice, "config.stage.audio_tdnn.contrast is 0.0, asked 0.3"),
        (voice, config, "config.stage.audio_tdnn.contrast is 0.3, asked 0.0"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for _ in range(2):
            open_run(folder, one, prepared()).lock.close()
        with pytest.raises(UsageError, match=told):
            open_run(folder, other, prepared())
    with pytest.raises(UsageError, match="mixed_precision 'half'; known: bfloat16, float16"):
        read_config(None, {"mixed_precision": "half"})


def test_xla_is_for_one_replica(tmp_path):
    replicas = Replicas()
    replicas.share = Share(0, 1, 2)
    with pytest.raises(UsageError, match="'--xla': bad_config"):
        open_run(tmp_path / "run", TrainConfig(xla=True), prepared(), replicas=replicas)
    assert not (tmp_path / "run").exists()
