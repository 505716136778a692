"""What stands around every command: signals, packages, failures as one line."""

import os
import signal

import pytest

from keras_emo.cli.run import TERMINATED, require, run_command
from keras_emo.errors import EnvironmentFailure, ExitCode, Reason


def test_sigterm_ends_the_work_with_its_code_and_is_given_back(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def work() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("still at work")

    assert run_command(work) == TERMINATED == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped\n"


def test_a_package_that_is_missing_is_told_before_the_work():
    require("json", "numpy")
    with pytest.raises(EnvironmentFailure, match="pip install that") as caught:
        require("numpy", "no_such_package", how="pip install that")
    assert (caught.value.path, caught.value.reason) == ("no_such_package", Reason.MISSING_PACKAGE)


def test_failures_become_one_line(capsys):
    def fail(error: BaseException):
        def work() -> int:
            raise error

        return run_command(work)

    assert fail(EnvironmentFailure("disk", Reason.WRITE_FAILED, "full\nreally")) == 6
    assert capsys.readouterr().err == "error: 'disk': write_failed: full really\n"
    assert fail(ModuleNotFoundError("No module named 'soxr'", name="soxr")) == ExitCode.ENVIRONMENT
    assert "soxr" in capsys.readouterr().err
    assert fail(PermissionError(13, "Permission denied", "a.csv")) == ExitCode.ENVIRONMENT
    assert capsys.readouterr().err == "error: 'a.csv': write_failed: Permission denied\n"
    assert fail(BrokenPipeError()) == ExitCode.OK
    assert fail(KeyboardInterrupt()) == 130
    with pytest.raises(ImportError):  # of our own: a bug
        fail(ImportError("x", name="keras_emo.core"))
