"""The examples of one's own network and corpus, through training and the contract of networks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_emo.core.labels import EMOTIONS

pytest.importorskip("tensorflow")

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_contract_finds_a_network_by_its_registration():
    """As docs/howto/network.md has it; a process of its own, for the registry is shared."""
    said = run(
        "-m", "pytest", "-q", "-p", "examples.own_network", "-p", "no:cacheprovider",
        "tests/contract/test_models.py", "-k", "audio_plain",
    )  # fmt: skip
    assert re.search(r"\b[1-9][0-9]* passed", said), said


def test_training_on_a_corpus_in_one_file(make, tmp_path):
    """Sound alone and one small network: the way is what counts."""
    corpus, out = tmp_path / "corpus", tmp_path / "run"
    for i, speaker in enumerate(("anna_f", "ben_m", "cora_f", "dan_m")):
        folder = corpus / speaker
        folder.mkdir(parents=True)
        for k, emotion in enumerate(EMOTIONS):
            make.wav(
                folder / f"{emotion}_01.wav", make.sine(1.0, 16_000, 200 + 50 * k + 7 * i), 16_000
            )
    config = tmp_path / "small.toml"
    config.write_text(
        '[run]\nstages = ["audio_lstm"]\nepochs = 1\nval = ["cora", "dan"]\n'
        "[waves]\nn_variants = 0\n[model.audio_lstm]\nunits = 8\ntime_pool = 6\n"
    )
    said = run(
        ROOT / "examples" / "own_corpus.py", "--data", corpus, "--out", out,
        "--config", config, "--test", "ben", cwd=tmp_path,
    )  # fmt: skip
    assert "audio_lstm" in said
    assert (out / "audio_lstm" / "model.keras").is_file()
