import os
import subprocess
import sys

import pytest

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.inference.bundle import digest_file
from keras_emo.io import open_draft, sweep_drafts, write_atomic, write_json

# A full disk: no file may grow beyond 1000 bytes.
FULL = """
import resource, sys
from pathlib import Path
from keras_emo.cli.run import run_command
from keras_emo.io import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(run_command(lambda: write_text(Path(sys.argv[1]), "x" * 5000)))
"""


def test_sweeping_spares_a_draft_in_work(tmp_path):
    left = tmp_path / ".part-left"
    left.write_bytes(b"half")
    with open_draft(tmp_path / "a.keras", ".keras") as f:
        f.write(b"whole")
        sweep_drafts(tmp_path)
        assert [str(p) for p in tmp_path.iterdir()] == [f.name]
        assert f.name.endswith(".keras")
    assert [p.name for p in tmp_path.iterdir()] == ["a.keras"]
    assert (tmp_path / "a.keras").read_bytes() == b"whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    write_json(tmp_path / "a.json", 1)
    before = digest_file(tmp_path / "a.json")

    def write(f):
        f.write(b"2")
        raise error

    with pytest.raises(error):
        write_atomic(tmp_path / "a.json", write)
    assert digest_file(tmp_path / "a.json") == before
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk(tmp_path):
    """RLIMIT_FSIZE stands for it: a write fails midway, the old file stays, exit code 6."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 6
    assert done.stderr == f"error: '{path}': write_failed: {os.strerror(27)}\n"
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(EnvironmentFailure) as caught:
        write_json(tmp_path / "nowhere" / "a.json", 1)
    assert caught.value.reason == Reason.WRITE_FAILED
