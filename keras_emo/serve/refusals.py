"""Reasons for refusing a request, and the status code of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from keras_emo.errors import EmoError, Reason


class RefusalReason(StrEnum):
    """Reasons of the service itself; those of a recording are in keras_emo.errors."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNKNOWN_ROUTE = "unknown_route"
    UNKNOWN_MODEL = "unknown_model"
    BAD_METHOD = "bad_method"
    SLOW_UPLOAD = "slow_upload"
    UPLOAD_LIMIT = "upload_limit"
    DISCONNECTED = "disconnected"
    INTERNAL = "internal"
    NOT_READY = "not_ready"
    OVERLOADED = "overloaded"
    DRAINING = "draining"


REJECTED = 422  # every other reason: the recording was read and refused
_BY_STATUS: dict[int, tuple[RefusalReason | Reason, ...]] = {
    400: (RefusalReason.BAD_REQUEST, Reason.BAD_CONFIG),
    401: (RefusalReason.UNAUTHORIZED,),
    403: (RefusalReason.FORBIDDEN,),
    404: (RefusalReason.UNKNOWN_ROUTE, RefusalReason.UNKNOWN_MODEL),
    405: (RefusalReason.BAD_METHOD,),
    408: (RefusalReason.SLOW_UPLOAD,),
    413: (RefusalReason.UPLOAD_LIMIT,),
    415: (Reason.NOT_MEDIA, Reason.FORMAT_NOT_ALLOWED, Reason.UNSUPPORTED_CODEC),
    499: (RefusalReason.DISCONNECTED,),  # only for the log: the client has disconnected
    # a missing upload is the service's fault, not the client's
    500: (RefusalReason.INTERNAL, Reason.NOT_FOUND, Reason.NOT_REGULAR_FILE, Reason.UNREADABLE,
          Reason.WORKER_DIED),
    502: (Reason.DECODER_CRASHED,),
    503: (RefusalReason.NOT_READY, RefusalReason.OVERLOADED, RefusalReason.DRAINING),
    504: (Reason.TIMEOUT,),
    507: (Reason.WRITE_FAILED,),
}  # fmt: skip
STATUS = {reason: status for status, reasons in _BY_STATUS.items() for reason in reasons}


@dataclass(frozen=True)
class ErrorDetail:
    """reason: a code, the same as on the command line."""

    reason: str
    cause: str


@dataclass(frozen=True)
class ErrorResponse:
    """The body of an unsuccessful response."""

    error: ErrorDetail


@dataclass(frozen=True)
class ProtocolError:
    """The same in the form of the inference protocol."""

    error: str


class Refusal(Exception):
    """A request that is refused.

    retry_s: after how many seconds a retry may succeed. headers: of the response.
    """

    def __init__(
        self,
        reason: RefusalReason | Reason,
        cause: str,
        retry_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        self.reason, self.cause, self.headers = reason, cause, dict(headers or {})
        if retry_s is not None:
            self.headers["Retry-After"] = str(retry_s)
        if reason == RefusalReason.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = "Bearer"
        super().__init__(reason, cause)

    @classmethod
    def from_error(cls, error: EmoError) -> Refusal:
        """The same reason and cause, without a path of this machine."""
        cause = error.cause.replace(error.path, "the file") if "/" in error.path else error.cause
        return cls(error.reason, cause)

    @property
    def status(self) -> int:
        return STATUS.get(self.reason, REJECTED)

    def to_dict(self, path: str) -> dict[str, Any]:
        """The body of the response to a request for path."""
        if path.startswith("/v2"):
            return asdict(ProtocolError(f"{self.reason}: {self.cause}"))
        return asdict(ErrorResponse(ErrorDetail(str(self.reason), self.cause)))
