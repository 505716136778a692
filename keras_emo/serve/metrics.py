"""What the service counts and measures, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
STAGES = ("upload", "wait", "decode", "network", "total")
disable_created_metrics()  # half of all lines, which nothing reads
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one service, apart from those of any other in the process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "keras_emo_requests", "Requests answered.", ["route", "code"], registry=registry
        )
        self.stage_s = Histogram(
            "keras_emo_stage_seconds", "Time of a request in each stage.", ["stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "keras_emo_queue_length", "Accepted requests without a decoder.", registry=registry
        )
        self.batch = Histogram(
            "keras_emo_batch_clips", "Prepared clips the network answered at once.",
            buckets=(1, 2, 3, 4, 6, 8, 16), registry=registry,
        )  # fmt: skip
        self.rejected = Counter(
            "keras_emo_rejected", "Requests that were not answered.", ["reason"], registry=registry
        )
        self.crashes = Counter(
            "keras_emo_decoder_crashes", "Decoders that died or were killed.", registry=registry
        )
        self.ready = Gauge("keras_emo_ready", "1 while requests are accepted.", registry=registry)
        for stage in STAGES:
            self.stage_s.labels(stage)

    def observe(self, stage: str, spent_s: float) -> None:
        """A request spent so long in one of STAGES."""
        self.stage_s.labels(stage).observe(spent_s)

    def write(self) -> bytes:
        """All of them, as they stand."""
        return generate_latest(self.registry)
