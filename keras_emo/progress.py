"""One line on a terminal that says how far the work is; nothing where nobody looks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

CLEAR_LINE = "\r\x1b[K"
_REDRAW_S = 0.1
_SETTLE_S = 1.0  # a rate of less time would be a guess
_WIDTH = 80  # of a terminal that does not say


class Progress:
    """A callable (done, total) that redraws one line: share, rate, time left.

    unit: of done and total, as ``clips``; with ``s``, seconds of a recording, the rate is how
    many times as fast as life it goes. lines: where stderr is no terminal, a line a tenth
    instead of nothing, for logs of work that lasts. Leaving the block clears the line.
    """

    def __init__(
        self,
        what: str,
        unit: str = "",
        lines: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.what, self.unit, self.lines, self.clock = what, unit, lines, clock
        self.stream = sys.stderr if stream is None else stream
        self.shown = shows_lines(self.stream)
        self._start_s = clock()
        self._first: tuple[float, float] | None = None  # time and count of the first call
        self._drawn_s, self._tenth, self._dirty = -1e9, -1, False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def __call__(self, done: float, total: float = 0) -> None:
        """So much is done; total 0: nobody knows of how much."""
        now_s = self.clock()
        if self._first is None:
            self._first = now_s, done
        if self.shown:
            if now_s - self._drawn_s >= _REDRAW_S or 0 < total <= done:
                self._draw(self._describe(done, total, now_s), now_s)
        elif self.lines and total and int(10 * done // total) != self._tenth:
            self._tenth = int(10 * done // total)
            count = f"{self._count(done)}/{self._count(total)}"
            print(
                f"{self.what} {count} {now_s - self._start_s:.0f} s", file=self.stream, flush=True
            )

    def say(self, step: str) -> None:
        """Name the step that begins, of work that cannot be counted."""
        if self.shown:
            self._draw(f"{self.what}: {step} ...", self.clock())

    def clear(self) -> None:
        """Wipe the line: before anything else is written, and at the end."""
        if self._dirty:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()
            self._dirty, self._drawn_s = False, -1e9

    def _describe(self, done: float, total: float, now_s: float) -> str:
        start_s, before = self._first or (now_s, done)
        spent_s, gained = now_s - start_s, done - before
        parts = [f"{self.what} {self._count(done)}"]
        if total:
            parts = [f"{self.what} {self._count(done)}/{self._count(total)}"]
            parts.append(f"{100 * min(done / total, 1):.0f} %")
        if spent_s >= _SETTLE_S and gained > 0:
            rate = gained / spent_s
            parts.append(f"{rate:.1f}x" if self.unit == "s" else f"{rate:.1f} {self.unit or ''}/s")
            if total > done:
                parts.append(f"{format_length((total - done) / rate)} left")
        return "  ".join(parts)

    def _count(self, n: float) -> str:
        return format_length(n) if self.unit == "s" else f"{n:.0f}"

    def _draw(self, text: str, now_s: float) -> None:
        room = _measure(self.stream) - 1  # a full line would wrap on some terminals
        self.stream.write(CLEAR_LINE + make_printable(text)[:room])
        self.stream.flush()
        self._dirty, self._drawn_s = True, now_s


def shows_lines(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a line can be drawn anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def make_printable(text: str) -> str:
    """Text without what a terminal would obey: a file may have any name."""
    return "".join(c if c.isprintable() else "?" for c in text)


def format_length(length_s: float) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    minutes, seconds = divmod(round(length_s), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours}:{left:02d}:{seconds:02d}" if hours else f"{left}:{seconds:02d}"


def _measure(stream: TextIO) -> int:
    """Columns of a terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except (OSError, ValueError):  # no descriptor, or one that is no terminal
        return _WIDTH
