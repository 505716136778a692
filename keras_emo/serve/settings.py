"""All limits of the service, and its API key."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keras_emo.errors import Reason, UsageError, translate_errors
from keras_emo.inference.session import CPU
from keras_emo.spec import Range, check_ranges

MB = 1_000_000
KEY_VARIABLE = "KERAS_EMO_API_KEY"
MIN_KEY_LENGTH = 16
_COUNT, _TIME = Range(1), Range(0, 1e6, above=True, below=True)
_RANGES = {
    "port": Range(0, 65535),
    "queue": Range(0),
    "batch_wait_s": Range(0, 1, below=True),
    **dict.fromkeys(("workers", "max_upload_bytes", "max_batch"), _COUNT),
    **dict.fromkeys(("timeout_s", "drain_s", "stall_s", "min_rate", "header_s"), _TIME),
}


@dataclass(frozen=True)
class Settings:
    """How the service runs, and the limits of a request.

    workers: decoders, so recordings decoded at once. queue: requests that may wait beyond those.
    timeout_s: from the end of an upload to the response. drain_s: for accepted requests once
    the service shuts down. stall_s: the longest pause of an upload, which may take this long in
    total plus one second for every min_rate bytes. api_key: None for no authentication. providers:
    execution providers of onnxruntime.
    Raises ValueError if out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    queue: int = 32
    max_upload_bytes: int = 200 * MB
    timeout_s: float = 60.0
    drain_s: float = 30.0
    stall_s: float = 10.0
    min_rate: float = 64_000.0
    max_tensor_bytes: int = 16 * MB
    max_batch: int = 8  # clips in one run of the network
    batch_wait_s: float = 0.004  # for further clips to join a batch
    header_s: float = 10.0  # for the head of a request
    header_bytes: int = 16_384
    keep_alive_s: int = 5
    max_connections: int = 512
    api_key: str | None = field(default=None, repr=False)
    providers: tuple[str, ...] = (CPU,)

    def __post_init__(self) -> None:
        check_ranges("settings", self, _RANGES)


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
        with translate_errors(UsageError, path, Reason.BAD_CONFIG):
            key = path.read_text(encoding="utf-8", errors="replace")
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
