"""One vocabulary of failures: reason codes, exit codes and the errors that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the commands return to the shell."""

    OK = 0
    USAGE = 2
    REJECTED = 3
    PARTIAL = 4
    BUNDLE_REFUSED = 5
    ENVIRONMENT = 6
    TIMEOUT = 124  # as timeout(1) has it


class Reason(StrEnum):
    """Why a file was refused, or which state a result is in."""

    # files
    NOT_FOUND = "not_found"
    NOT_REGULAR_FILE = "not_regular_file"
    UNREADABLE = "unreadable"
    EMPTY_FILE = "empty_file"
    # media
    NOT_MEDIA = "not_media"
    TRUNCATED_CONTAINER = "truncated_container"
    FORMAT_NOT_ALLOWED = "format_not_allowed"
    UNSUPPORTED_CODEC = "unsupported_codec"
    NO_VIDEO = "no_video"
    NO_FRAMES = "no_frames"
    NO_AUDIO = "no_audio"
    SILENT_AUDIO = "silent_audio"
    NON_FINITE_AUDIO = "non_finite_audio"
    BAD_HEADER = "bad_header"
    TOO_SHORT = "too_short"
    RESOLUTION_LIMIT = "resolution_limit"
    DURATION_LIMIT = "duration_limit"
    NO_FACE = "no_face"
    NO_MODALITY = "no_modality"
    DECODER_CRASHED = "decoder_crashed"
    TIMEOUT = "timeout"
    # corpora
    NO_CLIPS = "no_clips"
    BAD_NAME = "bad_name"
    UNKNOWN_CODE = "unknown_code"
    DUPLICATE = "duplicate"
    BAD_SPLIT = "bad_split"
    # training, export, bundles
    BAD_CONFIG = "bad_config"
    MISSING_STAGE = "missing_stage"
    NAN_LOSS = "nan_loss"
    EXPORT_FAILED = "export_failed"
    ACCURACY_DROP = "accuracy_drop"
    BAD_BUNDLE = "bad_bundle"
    NO_BUNDLE = "no_bundle"
    WORKER_DIED = "worker_died"
    WRITE_FAILED = "write_failed"
    CANNOT_LISTEN = "cannot_listen"
    MISSING_PACKAGE = "missing_package"
    BAD_EXTENSION = "bad_extension"


class EmoError(Exception):
    """A failure a user can act on; prints as ``error: <file>: <reason>: <cause>``."""

    exit_code = ExitCode.REJECTED

    def __init__(self, path: str | Path, reason: Reason, cause: str):
        self.path, self.reason, self.cause = str(path), reason, cause
        super().__init__(path, reason, cause)  # args as given, so that it pickles

    def __str__(self) -> str:
        return f"{self.path!r}: {self.reason}: {self.cause}".replace("\n", " ")


class ClipError(EmoError):
    """A clip that cannot be used."""


class ClipTimeout(ClipError):
    """A clip that took longer than it may."""

    exit_code = ExitCode.TIMEOUT


class UsageError(EmoError):
    """A setting or a path that the user has to change."""

    exit_code = ExitCode.USAGE


class BundleError(EmoError):
    """A bundle that is incomplete, altered or of another schema."""

    exit_code = ExitCode.BUNDLE_REFUSED


class EnvironmentFailure(EmoError):
    """The machine lacks something: a package, space, a right to write."""

    exit_code = ExitCode.ENVIRONMENT


@contextmanager
def translate_errors(
    kind: type[EmoError],
    path: str | Path,
    reason: Reason,
    *errors: type[Exception],
    cause: str = "{}",
) -> Iterator[None]:
    """Raise an EmoError that names path in place of the given errors, of OSError if none are given.

    cause: a template around the message of the error.
    """
    translated = errors or (OSError,)
    try:
        yield
    except EmoError:
        raise
    except translated as e:
        raise kind(path, reason, cause.format(describe_error(e))) from e


def describe_error(error: BaseException) -> str:
    """The message of an exception, without the number and the path of an OSError."""
    if message := getattr(error, "strerror", None):
        return str(message)
    if isinstance(error, KeyError):
        return f"no {error}"
    return str(error) or type(error).__name__
