"""A small built-in corpus and one run over it, shared by the integration tests."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.media.reader import read_media

ROOT = Path(__file__).resolve().parents[2]
RAVDESS = ROOT.parent / "shared" / "data" / "ravdess"
SMALL = """
[waves]
n_variants = 1

[model.visual_alexnet]
width = 0.125
dense_units = 32
dropout = 0.1

[model.audio_cnn]
width = 0.125
dense_units = 32

[model.audio_lstm]
units = 16
time_pool = 6

[stage.visual_alexnet]
epochs = 2
[stage.audio_cnn]
epochs = 2
[stage.audio_lstm]
epochs = 2
[stage.fusion_concat]
epochs = 2
passes = 1
[stage.fusion_single_cnn]
epochs = 3
[stage.fusion_single_lstm]
epochs = 3
[stage.fusion_multi_cnn]
epochs = 3
[stage.fusion_multi_lstm]
epochs = 3
"""
CONFIG = f"""
[run]
test = ["6"]
val = ["4", "5"]
seed = 3
{SMALL}"""

# A finder that refuses what deployment must not need, in front of any code.
BLOCK = """
import sys
class Block:
    names = ("tensorflow", "keras", "librosa", "mtcnn", "onnx", "tf2onnx", "scipy", "matplotlib")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""


@dataclass
class Trained:
    """Where the shared run and its inputs lie."""

    root: Path
    corpus: Path
    cache: Path
    config: Path
    run: Path

    def command(self, *options: str, out: Path | None = None) -> list[str]:
        """The command line of train.py on the shared corpus and cache; later options count."""
        return [
            sys.executable, str(ROOT / "train.py"), "--data", str(self.corpus),
            "--cache", str(self.cache), "--config", str(self.config),
            "--out", str(out or self.run), *options,
        ]  # fmt: skip

    def train(self, *options: str, out: Path | None = None) -> subprocess.CompletedProcess:
        """train.py in a process of its own."""
        command = self.command(*options, out=out)
        return subprocess.run(command, capture_output=True, text=True, timeout=900)


def run_cli(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """keras-emo in a process in which the training packages cannot be imported."""
    code = f"{BLOCK}\nfrom keras_emo.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Recordings of 6 drawn speakers, 8 each."""
    spec = BuiltinSpec(n_speakers=6, n_statements=1, strong=False)
    return build_corpus(tmp_path_factory.mktemp("recordings") / "corpus", spec, 0)


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory) -> Trained:
    """A run of every stage, two epochs each."""
    pytest.importorskip("tensorflow")
    root = tmp_path_factory.mktemp("trained")
    config = root / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    made = Trained(root, corpus, root / "cache", config, root / "run")
    done = made.train()
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture(scope="session")
def bundles(trained) -> Path:
    """Every network of the run, exported."""
    command = [
        sys.executable, str(ROOT / "export.py"), "--run", str(trained.run), "--model", "all",
        "--out", str(trained.root / "bundles"), "--formats", "onnx",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return trained.root / "bundles"


def read_actors() -> list[list[np.ndarray]]:
    """Three frames a second of a clip of RAVDESS for each of six actors, RGB uint8."""
    found = [sorted(folder.glob("*.mp4")) for folder in sorted(RAVDESS.glob("Actor_*"))[:6]]
    clips = [paths[(7 * number + 3) % len(paths)] for number, paths in enumerate(found)]
    return [[f.rgb for f in read_media(clip, audio_s=0).frames] for clip in clips]
