"""What the README says to type is typed: its words, in a folder where its paths mean something.

train.py, export.py and the default bundle are linked there. RAVDESS is a small folder of drawn
faces under RAVDESS's names and clip.mp4 another drawn face. All that is added is a small --config
to train.py, for a minute's sake, and --port 0 to serve, as 8080 may be taken. What the README marks
as demo is run by `make demo`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_emo.demo_corpus import BuiltinSpec
from keras_emo.demo_corpus.corpus import EMOTION_CODES, write_clip
from keras_emo.training.config import DEFAULT_STAGES

from .conftest import SMALL
from .service import BUNDLE, ROOT, Running, check_equal

pytest.importorskip("tensorflow")
pytest.importorskip("fastapi")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.skipif(not BUNDLE.is_dir(), reason="the default bundle is not here"),
]
PREDICT = "Predict your own clip"
TRAIN = "Train on RAVDESS, export, predict, serve"
TESTED = ("01", "02", "11", "20")
OTHERS = ("03", "04", "05")  # two are drawn for validation; whoever trains has every emotion
SETTINGS = {"KERAS_EMO_API_KEY", "KERAS_EMO_BUNDLE"}
BIN = Path(sys.executable).parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in SETTINGS} | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"
}


def read_block(title: str, language: str) -> str:
    """The only fenced block of a language in a section."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"README.md, {title}: {len(found)} blocks of {language}, 1 expected"
    return found[0]


def read_commands(title: str, *starts: str) -> list[str]:
    """Lines of the section's block of commands, which begin like starts."""
    lines = read_block(title, "sh").splitlines()
    assert [s for s, line in zip(starts, lines, strict=True) if not line.startswith(s)] == []
    return lines


def run(command: str | list[str], folder: Path, timeout_s: float = 300) -> str:
    """stdout of a command, a line for the shell or words, which ends with 0."""
    done = subprocess.run(
        command, shell=isinstance(command, str), cwd=folder, env=ENVIRONMENT,
        capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


def write_ravdess(root: Path) -> None:
    """Video_Speech_Actor_NN/Actor_NN/, as the archives unpack: each take also without its sound."""
    import av

    spec = BuiltinSpec(min_duration_s=1.0, max_duration_s=1.2)
    for actor in (*TESTED, *OTHERS):
        for code in EMOTION_CODES if actor in OTHERS else ("05",):
            take = f"01-{code}-01-01-01-{actor}.mp4"
            clip = f"Video_Speech_Actor_{actor}/Actor_{actor}/01-{take}"
            write_clip(root, clip, spec)
            silent = (root / clip).with_name(f"02-{take}")
            with av.open(str(root / clip)) as whole, av.open(str(silent), "w") as muted:
                picture = whole.streams.video[0]
                stream = muted.add_stream_from_template(picture)
                for packet in whole.demux(picture):
                    if packet.dts is not None:
                        packet.stream = stream
                        muted.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, drawn) -> Path:
    """Where the commands are typed: beside what the repository has there, a corpus and a clip."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("train.py", "export.py", "saved_models/default"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(drawn, folder / "clip.mp4")
    write_ravdess(folder / "RAVDESS")
    (folder / "small.toml").write_text(SMALL, encoding="utf-8")
    assert (BIN / "keras-emo").is_file(), "keras-emo is not installed beside this Python"
    return folder


@pytest.fixture(scope="module")
def commands(folder) -> dict[str, str]:
    """The block's lines by what they do; train and export have been run."""
    lines = read_commands(
        TRAIN, "python train.py ", "python export.py ", "keras-emo predict ", "keras-emo serve "
    )
    train, export, predict, serve = lines
    run(f"{train} --config small.toml", folder)
    run(export, folder)
    return {"predict": predict, "serve": serve}


def test_training_leaves_what_is_said(commands, folder):
    summary = (folder / "runs/first/summary.md").read_text(encoding="utf-8")
    assert [n for n in DEFAULT_STAGES if f"| {n} | test |" not in summary] == []
    split = json.loads((folder / "runs/first/split.json").read_text(encoding="utf-8"))
    assert split["test"] == [f"ravdess/{actor}" for actor in TESTED]
    assert len(split["val"]) == 2
    assert sorted(split["train"] + split["val"]) == [f"ravdess/{actor}" for actor in OTHERS]
    facts = json.loads((folder / "saved_models/first/bundle.json").read_text(encoding="utf-8"))
    assert facts["model"] == "fusion_multi_cnn"


def test_command_service_and_python_agree(commands, folder, tmp_path):
    (expected,) = json.loads(run(commands["predict"], folder))
    assert expected["path"] == "clip.mp4"
    assert expected["modalities"] == ["face", "voice"]

    running = Running(tmp_path, command=shlex.split(commands["serve"]), cwd=folder, **ENVIRONMENT)
    try:
        answer = running.send((folder / "clip.mp4").read_bytes())
        assert answer.status_code == 200
        check_equal(answer.json(), expected)
        page = running.get("/")
        assert (page.status_code, "<html" in page.text) == (200, True)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=40) == 0
    finally:
        running.end()

    block = read_block(PREDICT, "python")
    asked = block.replace("keras_emo.load()", 'keras_emo.load("saved_models/first")')
    assert asked != block
    label, probs = run_python(asked, folder)
    assert label == expected["label"]
    assert probs == pytest.approx(expected["probs"], abs=2e-6)


def test_the_shipped_network_answers_a_clip(folder):
    *_, predict = read_commands(
        PREDICT,
        "python3 -m venv ",
        "pip install -r requirements-runtime.txt ",
        "keras-emo predict ",
    )
    label, probs = run_python(read_block(PREDICT, "python"), folder)
    assert label == max(probs, key=probs.get)
    assert run(predict, folder).split()[:3] == ["clip.mp4", label, f"{probs[label]:.2f}"]


def run_python(block: str, folder: Path) -> tuple[str, dict[str, float]]:
    """Label and probabilities that the block prints."""
    label, _, probs = run(["python", "-c", block], folder).partition(" ")
    return label, ast.literal_eval(probs)
