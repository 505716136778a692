import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from keras_emo.cli.run import run_command
from keras_emo.training.interrupt import Stopped, check_stopped, note_progress, run_until_stopped

FOLDER = Path("runs/a")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_work(number, code, capsys):
    before = signal.getsignal(number)

    def work():
        with note_progress(lambda: "audio_cnn is saved after epoch 2"):
            os.kill(os.getpid(), number)
        pytest.fail("went on")

    assert run_command(lambda: run_until_stopped(work, FOLDER)) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert number.name in said
    assert "audio_cnn is saved after epoch 2; run the same command" in said
    assert signal.getsignal(number) is before


def test_a_swallowed_stop_is_raised_again(capsys):
    def work():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        check_stopped()
        return 0

    assert run_until_stopped(work, FOLDER) == 143


def test_without_a_signal_nothing_happens():
    assert run_until_stopped(lambda: 4, FOLDER) == 4
    check_stopped()
    with pytest.raises(ZeroDivisionError):
        run_until_stopped(lambda: 1 // 0, FOLDER)
    assert not issubclass(Stopped, Exception)
