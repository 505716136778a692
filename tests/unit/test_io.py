"""Files that appear whole or not at all, and targets that cannot be replaced."""

import os
import subprocess
import sys
import threading

import pytest

from keras_emo.errors import EnvironmentFailure, ExitCode, Reason
from keras_emo.io import open_draft, open_output, sweep_drafts, write_json, write_text

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


def write_and_fail(opened, content, error: BaseException) -> None:
    with opened as f:
        f.write(content)
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(error):
        write_and_fail(open_draft(path), b"2", error())
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_rights(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


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


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with open_output(pipe) as stream:
        stream.write("said")
    reader.join(10)
    assert heard == ["said"]
    assert pipe.is_fifo()


def test_a_folder_is_refused(tmp_path):
    with (
        pytest.raises(EnvironmentFailure, match="folder of this name") as caught,
        open_output(tmp_path),
    ):
        pass
    assert caught.value.exit_code == ExitCode.ENVIRONMENT


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "there", tmp_path / "link"
    link.symlink_to(target)
    with open_output(link) as stream:
        stream.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(EnvironmentFailure) as caught:
        write_and_fail(open_output(path), "new", OSError(28, "No space left on device"))
    assert (caught.value.path, caught.value.reason) == (str(path), Reason.WRITE_FAILED)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_written_before_an_interrupt_is_delivered(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(open_output(path), "half", KeyboardInterrupt())
    assert path.read_text() == "half"


def test_somebody_who_stopped_reading_is_no_failure_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError):
        write_and_fail(open_output(tmp_path / "a.csv"), "", BrokenPipeError())
