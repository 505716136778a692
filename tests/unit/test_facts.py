"""Which runs may become one network, and which may judge one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from keras_emo.errors import Reason, UsageError
from keras_emo.export.provenance import read_alike, read_runs

pytest.importorskip("keras")
from keras_emo.training.config import StageConfig, TrainConfig

pytestmark = pytest.mark.tensorflow

PLAIN = TrainConfig(seed=0, val=0, stages=("audio_cnn",))


@pytest.fixture
def write(tmp_path):
    def write(name: str, config: TrainConfig, corpus: str = "builtin") -> Path:
        split = {"train": ["builtin/01"], "val": [], "test": ["builtin/03"]}
        asked = {"config": config.to_dict(), "corpus": corpus, "clips": "5" * 16, "start": {},
                 "split": split}  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(asked))
        return tmp_path / name

    return write


def judge(first: Path, other: Path) -> dict:
    return read_alike(other, read_runs([first]), first)


def test_members_and_judges_may_have_another_seed(write):
    first, other = write("a", PLAIN), write("b", replace(PLAIN, seed=1))
    assert read_runs([first, other])["config"]["seed"] == 0
    assert judge(first, other)["config"]["seed"] == 1


@pytest.mark.parametrize("change", [{"val": 2}, {"stages": ("audio_cnn", "audio_lstm")}])
def test_judges_may_differ_in_more_than_members(write, change):
    first, other = write("a", PLAIN), write("b", replace(PLAIN, **change))
    with pytest.raises(UsageError, match="another config") as caught:
        read_runs([first, other])
    assert caught.value.reason is Reason.BAD_CONFIG
    assert judge(first, other)["split"]["val"] == []


@pytest.mark.parametrize(
    "change", [{"preset": "faithful"}, {"stage": {"audio_cnn": StageConfig(epochs=2)}}]
)
def test_what_a_judge_shares_is_the_same(write, change):
    first, other = write("a", PLAIN), write("b", replace(PLAIN, **change))
    with pytest.raises(UsageError, match=r"b.*another config than .*a"):
        judge(first, other)


def test_a_judge_is_of_the_same_corpus(write):
    first, other = write("a", PLAIN), write("b", PLAIN, "savee")
    with pytest.raises(UsageError, match="another corpus"):
        judge(first, other)
