"""A bar on a terminal, lines in a log, nothing in a pipe."""

import io
import os
import pty
from contextlib import redirect_stderr, suppress

import pytest

from keras_emo.progress import Progress


class Terminal(io.StringIO):
    """A stream that is a terminal, and what stands on its last line."""

    def isatty(self):
        return True

    @property
    def line(self):
        return self.getvalue().rpartition("\r")[2].strip()


@pytest.fixture(autouse=True)
def term(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


def test_counts_and_percent():
    terminal = Terminal()
    with redirect_stderr(terminal), Progress("prepared", "clips") as progress:
        progress(100, 300)
        assert terminal.line.startswith("prepared:  33%")
        assert "100/300" in terminal.line
        progress.clear()
        assert terminal.line == ""
        progress(300, 300)  # drawn at once, however soon
        assert terminal.line.startswith("prepared: 100%")
        assert "300/300" in terminal.line
        assert "clips/s" in terminal.line
    assert terminal.line == ""


def test_a_terminal_without_a_size():
    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8") as terminal:
        with redirect_stderr(terminal), Progress("x") as progress:
            progress(1, 2)
        assert b"x:  50%" in os.read(leader, 10_000)
    os.close(leader)


def test_of_an_unknown_total():
    terminal = Terminal()
    with redirect_stderr(terminal), Progress("talk.mp4", "s") as progress:
        progress(3.2)
        assert terminal.line.startswith("talk.mp4: 3 s")


def test_the_bar_is_removed_also_after_a_failure():
    terminal = Terminal()
    with suppress(KeyError), redirect_stderr(terminal), Progress("x") as progress:
        progress(1, 2)
        raise KeyError
    assert terminal.line == ""


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_nothing_in_a_pipe_nor_on_a_terminal_that_cannot_redraw(kind, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = kind()
    with redirect_stderr(stream), Progress("x") as progress:
        for i in range(11):
            progress(i, 10)
        progress.say("y")
        progress.clear()
    assert stream.getvalue() == ""


def test_a_line_per_tenth_in_a_log():
    log = io.StringIO()
    with redirect_stderr(log), Progress("prepared clips", lines=True) as progress:
        for i in range(101):
            progress(i, 100)
    lines = log.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("prepared clips 0/100 ")
    assert lines[-1].startswith("prepared clips 100/100 ")


def test_a_name_cannot_steer_the_terminal():
    terminal = Terminal()
    with redirect_stderr(terminal), Progress("\x1b[2J\n\u202ea.mp4") as progress:
        progress(1, 2)
        assert terminal.line.startswith("?[2J??a.mp4:  50%")
        progress.say("\x1b[2J")
        assert terminal.line == "?[2J??a.mp4: ?[2J ..."
