"""Everything that limits the service, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

MB = 1_000_000


@dataclass(frozen=True)
class Settings:
    """How the service runs and what a request may take.

    workers: decoders, and so recordings read at once. queue: requests that wait beyond those.
    timeout_s: from the end of an upload to its answer. drain_s: for accepted requests once the
    service is told to stop. stall_s: an upload may be silent for so long; it may take so long
    in all, and a second more for every min_rate bytes. api_key: None where none is asked for.
    Raises ValueError out of range.
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
    max_parts: int = 8
    max_tensor_bytes: int = 16 * MB
    max_batch: int = 8  # clips the network answers at once
    batch_wait_s: float = 0.004  # for others to join
    header_s: float = 10.0  # for the head of a request
    header_bytes: int = 16_384
    keep_alive_s: int = 5
    max_connections: int = 512
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        counts = (self.workers, self.max_upload_bytes, self.max_batch, self.max_parts)
        times = (self.timeout_s, self.drain_s, self.stall_s, self.min_rate, self.header_s)
        if min(counts) < 1 or self.queue < 0 or not 0 <= self.port <= 65535:
            raise ValueError(f"settings out of range: {self}")
        if not all(0 < t < 1e6 for t in times) or not 0 <= self.batch_wait_s < 1:
            raise ValueError(f"settings out of range: {self}")

    @property
    def max_inside(self) -> int:
        """Requests that are accepted at once."""
        return self.workers + self.queue
