"""One line on a terminal, none in a pipe."""

import io

import pytest

from keras_emo.progress import CLEAR_LINE, Progress, format_length


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what stands on its last line."""

    def isatty(self):
        return True

    @property
    def line(self):
        return self.getvalue().rpartition(CLEAR_LINE)[2]

    @property
    def n_drawn(self):
        return self.getvalue().count(CLEAR_LINE)


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def term(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


def test_share_rate_and_time_left(clock):
    terminal = Terminal()
    progress = Progress("clips", "clips", stream=terminal, clock=clock)
    progress(100, 300)  # those that were there already say nothing of the rate
    assert terminal.line == "clips 100/300  33 %"
    clock.now_s += 10
    progress(120, 300)
    assert terminal.line == "clips 120/300  40 %  2.0 clips/s  1:30 left"
    clock.now_s += 90
    progress(300, 300)
    assert terminal.line == "clips 300/300  100 %  2.0 clips/s"


def test_seconds_of_a_recording(clock):
    terminal = Terminal()
    progress = Progress("talk.mp4", "s", stream=terminal, clock=clock)
    progress(0, 7200)
    clock.now_s += 60
    progress(1800, 7200)
    assert terminal.line == "talk.mp4 30:00/2:00:00  25 %  30.0x  3:00 left"
    clock.now_s += 60
    progress(3600)  # nobody knows of how much
    assert terminal.line == "talk.mp4 1:00:00  30.0x"


def test_redrawn_ten_times_a_second_at_most_but_always_at_the_end(clock):
    terminal = Terminal()
    progress = Progress("x", stream=terminal, clock=clock)
    for i in range(1000):
        clock.now_s += 0.001
        progress(i, 1000)
    assert 9 <= terminal.n_drawn <= 11
    progress(1000, 1000)
    assert terminal.line.startswith("x 1000/1000")


def test_the_line_is_cleared_also_after_a_failure(clock):
    terminal = Terminal()

    def fail():
        with Progress("x", stream=terminal, clock=clock) as progress:
            progress(1, 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert terminal.line == ""
    assert terminal.n_drawn == 2
    Progress("x", stream=terminal, clock=clock).clear()
    assert terminal.n_drawn == 2  # nothing was drawn, nothing is wiped


def test_after_a_clear_the_line_comes_back(clock):
    terminal = Terminal()
    progress = Progress("x", stream=terminal, clock=clock)
    progress(1, 9)
    progress.clear()
    progress(2, 9)
    assert terminal.line == "x 2/9  22 %"


def test_steps(clock):
    terminal = Terminal()
    with Progress("network", stream=terminal, clock=clock) as progress:
        progress.say("ONNX")
        progress.say("SavedModel")
        assert terminal.line == "network: SavedModel ..."


def test_a_long_line_does_not_wrap(clock):
    terminal = Terminal()
    Progress("n" * 200, stream=terminal, clock=clock)(1, 2)
    assert terminal.line == "n" * 79


def test_nothing_in_a_pipe_nor_on_a_terminal_that_cannot_redraw(clock, monkeypatch):
    pipe = io.StringIO()
    with Progress("x", stream=pipe, clock=clock) as progress:
        for i in range(11):
            progress(i, 10)
        progress.say("y")
    assert pipe.getvalue() == ""
    monkeypatch.setenv("TERM", "dumb")
    dumb = Terminal()
    Progress("x", stream=dumb, clock=clock)(1, 2)
    assert dumb.getvalue() == ""


def test_a_line_a_tenth_in_a_log(clock):
    log = io.StringIO()
    with Progress("prepared clips", lines=True, stream=log, clock=clock) as progress:
        for i in range(101):
            clock.now_s += 1
            progress(i, 100)
    lines = log.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "prepared clips 0/100 1 s"
    assert lines[-1] == "prepared clips 100/100 101 s"


def test_lengths():
    assert [format_length(s) for s in (0, 59.4, 59.6, 3600, 7325)] == [
        "0:00", "0:59", "1:00", "1:00:00", "2:02:05",
    ]  # fmt: skip


def test_a_name_cannot_steer_the_terminal(clock):
    terminal = Terminal()
    Progress("\x1b[2J\n\u202ea.mp4", stream=terminal, clock=clock)(1, 2)
    assert terminal.line == "?[2J??a.mp4 1/2  50 %"
