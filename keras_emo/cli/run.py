"""What every command does around its work: signals and failures become one line and a code."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from keras_emo.errors import EmoError, EnvironmentFailure, ExitCode, Reason, describe_error

INTERRUPTED, TERMINATED = 130, 143  # 128 and SIGINT, SIGTERM, as in shells
HOW_TO_INSTALL = "install keras_emo with the extra train, or pip install -r requirements.txt"


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt it is not an error of the work."""


def run_command(function: Callable[..., int], *arguments: Any) -> int:
    """Call a command's work and return the exit code; a failure is one line on stderr.

    A bug still shows its traceback, and so does a failed import of a module that belongs to this
    project or to Python itself.
    """
    try:
        with raising_on_sigterm():
            code = function(*arguments)
            sys.stdout.flush()  # here: a full disk behind stdout is a failure like any other
            return code
    except EmoError as e:
        return _fail(e)
    except ImportError as e:
        package = (e.name or "").partition(".")[0]
        if package in ("", "keras_emo") or package in sys.stdlib_module_names:
            raise
        return _fail(EnvironmentFailure(package, Reason.MISSING_PACKAGE, f"{e}; {HOW_TO_INSTALL}"))
    except BrokenPipeError:  # the reader of a pipe has closed it
        return ExitCode.OK
    except OSError as e:
        name = "output" if e.filename is None else str(e.filename)
        return _fail(EnvironmentFailure(name, Reason.WRITE_FAILED, describe_error(e)))
    except (KeyboardInterrupt, Terminated) as e:
        print("stopped", file=sys.stderr)
        return TERMINATED if isinstance(e, Terminated) else INTERRUPTED
    finally:
        _flush_stdout()


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated in the block, so that files and processes are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require(*packages: str, how: str = HOW_TO_INSTALL) -> None:
    """Raise EnvironmentFailure, before the work starts, for a package that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            cause = f"not installed; {how}"
            raise EnvironmentFailure(package, Reason.MISSING_PACKAGE, cause)


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
