"""Why a request is not answered, and the status code of every reason."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from keras_emo.errors import EmoError, Reason


class Refused(StrEnum):
    """Reasons that only a service has; a recording's own are those of keras_emo.errors."""

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


# Every other reason is a recording that was read and refused.
REJECTED = 422
STATUS: dict[str, int] = {
    Refused.BAD_REQUEST: 400,
    Refused.UNAUTHORIZED: 401,
    Refused.FORBIDDEN: 403,
    Refused.UNKNOWN_ROUTE: 404,
    Refused.UNKNOWN_MODEL: 404,
    Refused.BAD_METHOD: 405,
    Refused.SLOW_UPLOAD: 408,
    Refused.UPLOAD_LIMIT: 413,
    Refused.DISCONNECTED: 499,  # for the log: nobody hears it
    Refused.INTERNAL: 500,
    Refused.NOT_READY: 503,
    Refused.OVERLOADED: 503,
    Refused.DRAINING: 503,
    Reason.BAD_CONFIG: 400,
    Reason.NOT_MEDIA: 415,
    Reason.FORMAT_NOT_ALLOWED: 415,
    Reason.UNSUPPORTED_CODEC: 415,
    Reason.NOT_FOUND: 500,  # an upload that is gone is the service's fault, not the client's
    Reason.NOT_REGULAR_FILE: 500,
    Reason.UNREADABLE: 500,
    Reason.WORKER_DIED: 500,
    Reason.DECODER_CRASHED: 502,
    Reason.TIMEOUT: 504,
    Reason.WRITE_FAILED: 507,
}


class Refusal(Exception):
    """A request that is not answered.

    retry_s: when it may be worth asking again. headers: of the answer.
    """

    def __init__(
        self,
        reason: Refused | Reason,
        cause: str,
        retry_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        self.reason, self.cause, self.headers = reason, cause, dict(headers or {})
        if retry_s is not None:
            self.headers["Retry-After"] = str(retry_s)
        if reason == Refused.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = "Bearer"
        super().__init__(reason, cause)

    @property
    def status(self) -> int:
        return STATUS.get(self.reason, REJECTED)

    def to_dict(self, path: str) -> dict[str, Any]:
        """The body of the answer; the inference protocol has a form of its own."""
        if path == "/v2" or path.startswith("/v2/"):
            return {"error": f"{self.reason}: {self.cause}"}
        return {"error": {"reason": str(self.reason), "cause": self.cause}}


def refuse(error: EmoError) -> Refusal:
    """The same reason and cause, for the other end of a connection: no path of this machine."""
    cause = error.cause.replace(error.path, "the file") if "/" in error.path else error.cause
    return Refusal(error.reason, cause)
