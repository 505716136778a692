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
STATUS: dict[str, int] = {
    RefusalReason.BAD_REQUEST: 400,
    RefusalReason.UNAUTHORIZED: 401,
    RefusalReason.FORBIDDEN: 403,
    RefusalReason.UNKNOWN_ROUTE: 404,
    RefusalReason.UNKNOWN_MODEL: 404,
    RefusalReason.BAD_METHOD: 405,
    RefusalReason.SLOW_UPLOAD: 408,
    RefusalReason.UPLOAD_LIMIT: 413,
    RefusalReason.DISCONNECTED: 499,  # only for the log: the client has disconnected
    RefusalReason.INTERNAL: 500,
    RefusalReason.NOT_READY: 503,
    RefusalReason.OVERLOADED: 503,
    RefusalReason.DRAINING: 503,
    Reason.BAD_CONFIG: 400,
    Reason.NOT_MEDIA: 415,
    Reason.FORMAT_NOT_ALLOWED: 415,
    Reason.UNSUPPORTED_CODEC: 415,
    Reason.NOT_FOUND: 500,  # a missing upload is the service's fault, not the client's
    Reason.NOT_REGULAR_FILE: 500,
    Reason.UNREADABLE: 500,
    Reason.WORKER_DIED: 500,
    Reason.DECODER_CRASHED: 502,
    Reason.TIMEOUT: 504,
    Reason.WRITE_FAILED: 507,
}


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
        if path == "/v2" or path.startswith("/v2/"):
            return asdict(ProtocolError(f"{self.reason}: {self.cause}"))
        return asdict(ErrorResponse(ErrorDetail(str(self.reason), self.cause)))
