"""Progress of long work: a bar on a terminal, lines in a log, nothing in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """A callable (done, total) that draws a tqdm bar on stderr, if that is a terminal.

    unit: of done and total, as ``clips``. lines: where stderr is no terminal, a line per tenth
    instead of nothing, for logs of long work. Leaving the block removes the bar.
    """

    def __init__(self, what: str, unit: str = "", lines: bool = False):
        self.what, self.unit, self.lines = make_printable(what), unit, lines
        self.stream = sys.stderr
        self.shown = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._start_s = time.monotonic()
        self._bar: tqdm | None = None
        self._tenth = -1

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: float, total: float = 0) -> None:
        """Report what is done; total 0: nobody knows of how much."""
        n, n_total = round(done), round(total)
        if self.shown:
            bar = self._open(n, n_total)
            bar.total = n_total or None
            bar.update(n - bar.n)
            if n == n_total:
                bar.refresh()
        elif self.lines and n_total and 10 * n // n_total != self._tenth:
            self._tenth = 10 * n // n_total
            spent_s = time.monotonic() - self._start_s
            print(f"{self.what} {n}/{n_total} {spent_s:.0f} s", file=self.stream, flush=True)

    def say(self, step: str) -> None:
        """Name the step that begins, of work that cannot be counted."""
        if self.shown:
            bar = self._open(0, 0)
            bar.bar_format = "{desc}"
            bar.set_description_str(f"{self.what}: {make_printable(step)} ...")

    def clear(self) -> None:
        """Remove the bar until the next call: before anything else is written."""
        if self._bar is not None:
            self._bar.clear()

    def _open(self, initial: int, total: int) -> tqdm:
        """The bar; what was done before the first call does not count in its rate."""
        if self._bar is None:
            from tqdm import tqdm  # here: only a terminal needs it

            columns, rows = shutil.get_terminal_size()  # tqdm draws nothing if there is no size
            self._bar = tqdm(
                desc=self.what, unit=f" {self.unit}", initial=initial, total=total or None,
                file=self.stream, leave=False, ncols=columns, nrows=rows, miniters=1,
                position=0,  # also where another bar was cleared, not closed
            )  # fmt: skip
        return self._bar


def make_printable(text: str) -> str:
    """Text without what a terminal would obey: a file may have any name."""
    return "".join(c if c.isprintable() else "?" for c in text)
