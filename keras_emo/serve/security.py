"""Authentication, cross-site protection and admission of requests."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from keras_emo.errors import Reason, UsageError
from keras_emo.serve.refusals import Refusal, RefusalReason
from keras_emo.serve.settings import Settings

KEY_VARIABLE = "KERAS_EMO_API_KEY"
MIN_KEY_LENGTH = 16
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
GUARDED = ("/v1/", "/v2", "/metrics")
# The page loads nothing from another host; media that it makes itself are blobs.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_INITIAL_S = 0.5  # assumed for a request until one was measured
_WEIGHT = 0.1  # of the newest request in the running mean


def is_loopback(host: str) -> bool:
    """Whether a service bound to host is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_key(host: str, environment: Mapping[str, str], path: Path | None) -> str | None:
    """The API key from a file or the environment; None on loopback without one.

    Raises UsageError if a key is required and missing, or too short to be a secret.
    """
    where = KEY_VARIABLE if path is None else str(path)
    key = environment.get(KEY_VARIABLE, "")
    if path is not None:
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            cause = e.strerror if isinstance(e, OSError) else "not a text file"
            raise UsageError(path, Reason.BAD_CONFIG, cause or str(e)) from None
    key = key.strip()
    if not key:
        if path is None and is_loopback(host):
            return None
        cause = f"beyond loopback an API key is needed; set {KEY_VARIABLE} or give --api-key-file"
        raise UsageError(where if path else host, Reason.BAD_CONFIG, cause)
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable():
        cause = f"an API key has at least {MIN_KEY_LENGTH} printable ASCII characters"
        raise UsageError(where, Reason.BAD_CONFIG, cause)
    return key


def check_request(settings: Settings, path: str, headers: Mapping[str, str]) -> None:
    """Raise Refusal for a request without the key, or sent by the page of another site.

    Without a key only the names of this machine are accepted as the host: a foreign page whose
    own name resolves to this machine (DNS rebinding) is refused as well.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if settings.api_key is None and not is_loopback(_split(f"//{host}").hostname or ""):
        raise Refusal(RefusalReason.FORBIDDEN, "this service accepts requests to localhost only")
    if origin is not None and (_split(origin).netloc or None) != host:
        raise Refusal(RefusalReason.FORBIDDEN, "cross-site requests are not allowed")
    if settings.api_key is None or path in OPEN_PATHS or not path.startswith(GUARDED):
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
    if not compare_digest(given.strip().encode(), settings.api_key.encode()):
        raise Refusal(RefusalReason.UNAUTHORIZED, "the API key is missing or wrong")


def _split(url: str) -> SplitResult:
    """The parts of a URL, all of them empty if it is malformed."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


class Admission:
    """Limits the number of requests that are accepted at once."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._mean_s = _INITIAL_S
        self.n_active = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request as active while the block runs. Raises Refusal (overloaded)."""
        if self.n_active >= self._settings.max_active:
            cause = f"{self.n_active} requests are active or wait"
            raise Refusal(RefusalReason.OVERLOADED, cause, self.estimate_s())
        self.n_active += 1
        try:
            yield
        finally:
            self.n_active -= 1

    def record(self, spent_s: float) -> None:
        """A decoder needed this long for a request."""
        self._mean_s += _WEIGHT * (spent_s - self._mean_s)

    def estimate_s(self) -> int:
        """Whole seconds until half of the active requests will be done, at least one."""
        half_s = self._mean_s * self.n_active / self._settings.workers / 2
        return max(1, min(math.ceil(half_s), math.ceil(self._settings.timeout_s)))
