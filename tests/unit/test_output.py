"""Files that appear whole or not at all, and targets that cannot be replaced."""

import os
import threading

import pytest

from keras_emo.errors import EnvironmentFailure, ExitCode, Reason
from keras_emo.output import open_output


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


def write_and_fail(path, text: str, error: BaseException) -> None:
    with open_output(path) as stream:
        stream.write(text)
        raise error


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(EnvironmentFailure) as caught:
        write_and_fail(path, "new", OSError(28, "No space left on device"))
    assert (caught.value.path, caught.value.reason) == (str(path), Reason.WRITE_FAILED)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_written_before_an_interrupt_is_delivered(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(path, "half", KeyboardInterrupt())
    assert path.read_text() == "half"


def test_somebody_who_stopped_reading_is_no_failure_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError):
        write_and_fail(tmp_path / "a.csv", "", BrokenPipeError())
