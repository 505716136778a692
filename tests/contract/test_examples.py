"""The examples of one's own network and corpus, through training, export and the contract."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_emo.labels import EMOTIONS

pytest.importorskip("tensorflow")

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path, cwd: Path = ROOT, packages: Path | None = None) -> str:
    """What a command says on stdout; packages: a folder of installed ones beside our own."""
    places = [str(p) for p in (packages, ROOT) if p]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        timeout=300, env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_contract_finds_a_network_by_its_registration():
    """As docs/howto/network.md has it; a process of its own, for the registry is shared."""
    said = run(
        "-m", "pytest", "-q", "-p", "examples.own_network", "-p", "no:cacheprovider",
        "tests/contract/test_models.py", "-k", "audio_plain",
    )  # fmt: skip
    assert re.search(r"\b[1-9][0-9]* passed", said), said


def test_a_corpus_and_a_network_of_another_package_are_trained_and_exported(make, tmp_path):
    """Sound alone and one epoch: the way is what counts."""
    site = make.example(tmp_path / "site", "keras_emo.corpora", "own_corpus")
    make.example(site, "keras_emo.networks", "own_network")
    corpus = tmp_path / "corpus"
    for i, speaker in enumerate(("anna_f", "ben_m", "cora_f", "dan_m")):
        folder = corpus / speaker
        folder.mkdir(parents=True)
        for k, emotion in enumerate(EMOTIONS):
            make.wav(
                folder / f"{emotion}_01.wav", make.sine(1.0, 16_000, 200 + 50 * k + 7 * i), 16_000
            )
    config = tmp_path / "small.toml"
    config.write_text(
        '[run]\nval = ["cora", "dan"]\n[waves]\nn_variants = 0\n'
        "[stage.audio_plain]\nepochs = 1\n[model.audio_plain]\nunits = 8\n"
    )
    said = run(
        ROOT / "train.py", "--data", corpus, "--out", "run", "--config", config,
        "--test", "ben", "--stages", "audio_plain", cwd=tmp_path, packages=site,
    )  # fmt: skip
    assert "| audio_plain | test |" in said
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert kept["corpus"] == "folders"
    stage = kept["config"]["stage"]["audio_plain"]
    assert (stage["epochs"], stage["learning_rate"]) == (1, 2e-3)  # asked for, registered
    run(
        ROOT / "export.py", "--run", "run", "--model", "all", "--out", "bundles",
        "--formats", "onnx", cwd=tmp_path, packages=site,
    )  # fmt: skip
    bundle = tmp_path / "bundles/audio_plain"
    assert "one folder per speaker" in (bundle / "README.md").read_text()
    assert json.loads((bundle / "bundle.json").read_text())["license"] == "our own"
    clip = corpus / "ben_m/sad_01.wav"  # answered where neither package is
    said = run("-m", "keras_emo", "predict", clip, "--bundle", bundle, "--format", "csv")
    assert f"{clip}," in said
