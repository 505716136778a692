"""What becomes of the failures of Ray Train's workers, and which options go together."""

import pytest

from keras_emo.cli import main
from keras_emo.errors import EnvironmentFailure, ExitCode, Reason, UsageError
from keras_emo.training.workers import _find_cause


def test_an_error_of_a_worker_is_the_error():
    error = UsageError("runs/a", Reason.NOT_FOUND, "worker 1 of 2 does not find it")
    wrapped = RuntimeError("in a worker")
    wrapped.__cause__ = error
    for failures in ({1: error}, {0: RuntimeError("collective"), 1: wrapped}):
        assert _find_cause(failures, 2) is error


def test_workers_that_died_are_named():
    error = _find_cause({1: RuntimeError("The actor died unexpectedly\nlost")}, 2)
    assert isinstance(error, EnvironmentFailure)
    assert str(error) == (
        "'worker 1 of 2': worker_died: lost; run the same command again to resume"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--address", "10.0.0.1:6379"), "--address"),
        (("--workers", "2", "--distribute", "mirrored"), "--distribute"),
        (("--workers", "2", "--xla"), "--xla"),
    ],
)
def test_options_that_do_not_go_together(options, named, capsys, tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("tensorflow")
    code = main(["train", "--data", "builtin", "--out", str(tmp_path / "run"), *options])
    assert code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"error: '{named}': bad_config: ")
    assert not (tmp_path / "run").exists()
