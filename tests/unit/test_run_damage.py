"""Files of a run folder that are damaged: one line that names the file, and code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.cli import main
from keras_emo.cli.run import run_command
from keras_emo.data.corpus import Sample
from keras_emo.data.splits import Split
from keras_emo.errors import ExitCode
from keras_emo.export.provenance import collect_provenance, read_runs
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.metrics import measure

keras = pytest.importorskip("keras")
from keras_emo.training.config import TrainConfig  # noqa: E402
from keras_emo.training.evaluate import write_predictions  # noqa: E402
from keras_emo.training.folds import Plan  # noqa: E402
from keras_emo.training.run import Run, open_run, summarize  # noqa: E402
from keras_emo.training.stages import _name_source  # noqa: E402
from keras_emo.training.table import write_table  # noqa: E402

pytestmark = pytest.mark.tensorflow

NAME = "audio_cnn"
SPLIT = {"train": ["builtin/01"], "val": ["builtin/02"], "test": ["builtin/03"]}
HARMS = {
    "empty": b"", "list": b"[]", "other": b'{"x":1}', "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
}  # fmt: skip
DAMAGE = pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
TAKES = [
    Sample(f"builtin/{i}", "builtin", "builtin/03", "male", e, ClipSource())
    for i, e in enumerate(EMOTIONS)
]  # fmt: skip


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """A run folder with all but the weights of one network that it trained."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    (folder / NAME).mkdir(parents=True)
    (folder / "visual_alexnet").mkdir()
    probs = np.random.default_rng(0).dirichlet(np.ones(7), len(TAKES)).astype(np.float32)
    labels = np.array([t.label for t in TAKES])
    speakers, genders = [t.speaker for t in TAKES], [t.gender for t in TAKES]
    figures = measure(labels, probs, speakers, genders).to_dict()
    config = TrainConfig(stages=(NAME,))
    split = Split.from_dict(SPLIT)
    asked = {"config": config.to_dict(), "corpus": "builtin", "clips": "e3b0c44298fc1c14",
             "start": {}, "split": SPLIT}  # fmt: skip
    metrics = {"val": figures, "test": figures, "parameters": 9, "minutes": 0.1, "source": "a",
               "n_train": 3}  # fmt: skip
    write_predictions([(t, None) for t in TAKES], probs, folder / NAME / "predictions_test.csv")
    for name, data in {
        "config.json": asked,
        "split.json": {**SPLIT, "digest": split.digest()},
        f"{NAME}/metrics.json": metrics,
        f"{NAME}/training.json": {"minutes": 0.1},
        "visual_alexnet/metrics.json": metrics,
    }.items():
        (folder / name).write_text(json.dumps(data))
    plans = [Plan(folder, 0, None)]
    (folder / "table.json").write_text("{}")
    write_table(folder, plans, [NAME], TAKES)
    return folder


@pytest.fixture
def run(whole_run, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole_run, tmp_path / "run")


def prepared() -> SimpleNamespace:
    cache = SimpleNamespace(files={}, failures=[])
    split = Split.from_dict(SPLIT)
    return SimpleNamespace(split=split, corpus=SimpleNamespace(name="builtin"), cache=cache)


def take_up(folder: Path) -> None:
    open_run(folder, TrainConfig(stages=(NAME,)), prepared()).lock.close()


def begin_from(folder: Path) -> None:
    _name_source(folder / NAME / "model.keras")


READERS = {
    "config.json, training": ("config.json", take_up),
    "config.json, export": ("config.json", lambda f: read_runs([f])),
    "split.json": ("split.json", lambda f: collect_provenance([f], NAME, read_runs([f]))),
    "metrics.json, export": (
        f"{NAME}/metrics.json", lambda f: collect_provenance([f], NAME, read_runs([f])),
    ),
    "metrics.json, summary": (f"{NAME}/metrics.json", summarize),
    "metrics.json, table": (
        f"{NAME}/metrics.json", lambda f: write_table(f, [Plan(f, 0, None)], [NAME], TAKES),
    ),
    "predictions": (
        f"{NAME}/predictions_test.csv",
        lambda f: write_table(f, [Plan(f, 0, None)], [NAME], TAKES),
    ),
    "training.json": (
        f"{NAME}/training.json", lambda f: Run(f, TrainConfig(), prepared()).noted(NAME),
    ),
    "table.json": (
        "table.json", lambda f: collect_provenance([f], NAME, read_runs([f]), f / "table.json"),
    ),
}  # fmt: skip


def fails_by_name(path: Path, read, capsys) -> str:
    """The one line that reading ends with; it names the file."""
    assert run_command(lambda: read() or ExitCode.OK) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.startswith(f"error: {str(path)!r}: "), err
    assert err.count("\n") == 1, err
    assert err.split(": ")[2] in ("unreadable", "bad_config"), err
    return err


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_whole_files_are_read(run, reader):
    reader[1](run)


@DAMAGE
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_damaged_file_is_named(run, reader, harm, capsys):
    name, read = reader
    (run / name).write_bytes(harm)
    if name == "table.json" and harm == HARMS["other"]:
        assert f"no metrics of {NAME}" in fails_by_name(run / name, lambda: read(run), capsys)
        return
    fails_by_name(run / name, lambda: read(run) and None, capsys)


@DAMAGE
def test_export_ends_with_one_line(run, harm, capsys, tmp_path):
    (run / "config.json").write_bytes(harm)
    code = main(["export", "--run", str(run), "--model", NAME, "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert code == ExitCode.USAGE
    assert err.startswith(f"error: '{run}/config.json': ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("config.json", ("config", "model"), 3),
        ("config.json", ("config", "preset"), None),
        ("config.json", ("config", "clip", "face"), []),
        ("config.json", ("split", "val"), 3),
        ("split.json", ("test",), "builtin/03"),
        (f"{NAME}/metrics.json", ("val", "interval_95"), []),
        (f"{NAME}/metrics.json", ("val", "accuracy"), "high"),
        ("table.json", (NAME, "folds"), 3),
        ("table.json", (NAME, "all", "uar"), {}),
    ],
)
def test_one_value_of_another_kind(run, name, place, value, capsys):
    path = run / name
    data = json.loads(path.read_text())
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(data))
    table = run / "table.json"
    fails_by_name(
        path, lambda: collect_provenance([run], NAME, read_runs([run]), table) and None, capsys
    )


@pytest.mark.parametrize("cut", [-1, -200])
def test_predictions_that_are_cut_short(run, cut, capsys):
    path = run / NAME / "predictions_test.csv"
    lines = path.read_text().splitlines(keepends=True)
    text = "".join(lines[:cut]) if cut == -1 else path.read_text()[:cut]
    path.write_text(text)
    read = READERS["predictions"][1]
    assert "cut short" in fails_by_name(path, lambda: read(run) and None, capsys)


def test_a_folder_in_place_of_a_file(run, capsys):
    (run / "split.json").unlink()
    (run / "split.json").mkdir()
    line = fails_by_name(run / "split.json", lambda: READERS["split.json"][1](run), capsys)
    assert "unreadable" in line


@DAMAGE
def test_weights_that_are_damaged(run, harm, capsys):
    from keras_emo.export.ensemble import load_network

    path = run / NAME / "model.keras"
    path.write_bytes(harm)
    config = TrainConfig(stages=(NAME,))
    fails_by_name(path, lambda: load_network([run], NAME, config) and None, capsys)


def test_the_record_of_pretraining(run, capsys):
    path = run / NAME / "metrics.json"
    path.write_text('{"source": "a"}')
    fails_by_name(path, lambda: begin_from(run), capsys)
