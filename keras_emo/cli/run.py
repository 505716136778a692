"""What every command does around its work: failures become one line and an exit code."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from keras_emo.errors import EmoError, EnvironmentFailure, ExitCode, Reason

INTERRUPTED, TERMINATED = 130, 143  # 128 and SIGINT, SIGTERM, as shells have it
HOW_TO_INSTALL = "pip install -r requirements.txt"


def run_command(function: Callable[[], int]) -> int:
    """Call a command's work and return the exit code; a failure is one line on stderr.

    A bug still shows its traceback, an import of a module that this project or Python itself
    should have included.
    """
    try:
        code = function()
        sys.stdout.flush()  # here: a full disk behind stdout is a failure like any other
        return code
    except EmoError as e:
        return _fail(e)
    except ImportError as e:
        package = (e.name or "").partition(".")[0]
        if package in ("", "keras_emo") or package in sys.stdlib_module_names:
            raise
        return _fail(EnvironmentFailure(package, Reason.MISSING_PACKAGE, f"{e}; {HOW_TO_INSTALL}"))
    except BrokenPipeError:  # the reader of a pipe has had enough
        return ExitCode.OK
    except OSError as e:
        name = "output" if e.filename is None else str(e.filename)
        return _fail(EnvironmentFailure(name, Reason.WRITE_FAILED, e.strerror or str(e)))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    finally:
        _flush_stdout()


class Terminated(BaseException):
    """SIGTERM; like KeyboardInterrupt no error of the work."""


def exit_on_sigterm(function: Callable[[], int]) -> int:
    """Call a command's work; SIGTERM ends it as Ctrl-C does, with TERMINATED as its code."""
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        return function()
    except Terminated:
        print("stopped", file=sys.stderr)
        return TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _fail(error: EmoError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _flush_stdout() -> None:
    """Drop what stdout refuses to take, or Python would fail on it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require(*packages: str, how: str = HOW_TO_INSTALL) -> None:
    """Raise EnvironmentFailure, before the work starts, for a package that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            cause = f"not installed; {how}"
            raise EnvironmentFailure(package, Reason.MISSING_PACKAGE, cause)
