"""Who may ask: an API key, the hosts that are answered to, and what a page may load."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path
from urllib.parse import urlsplit

from keras_emo.errors import Reason, UsageError
from keras_emo.serve.refusals import Refusal, Refused
from keras_emo.serve.settings import Settings

KEY_VARIABLE = "KERAS_EMO_API_KEY"
MIN_KEY_LENGTH = 16
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
GUARDED = ("/v1/", "/v2", "/metrics")
# Nothing comes from another host; media of the page's own making are blobs.
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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a service bound to host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_key(host: str, environment: Mapping[str, str], path: Path | None) -> str | None:
    """The API key from a file or the environment; None on loopback without one.

    Raises UsageError where one is needed and missing, or too short to be a secret.
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
    """Raise Refusal for a request without the key, or that another site's page has sent.

    Without a key only names of this machine are answered to: a page from elsewhere whose name
    was made to lead here is another site still.
    """
    host = headers.get("host", "")
    if settings.api_key is None and not is_loopback(_host_name(host)):
        raise Refusal(Refused.FORBIDDEN, "this service answers to localhost alone")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Refusal(Refused.FORBIDDEN, "pages of other sites may not ask")
    if settings.api_key is None or path in OPEN_PATHS or not path.startswith(GUARDED):
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
    if not compare_digest(given.strip().encode(), settings.api_key.encode()):
        raise Refusal(Refused.UNAUTHORIZED, "the API key is missing or wrong")


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
