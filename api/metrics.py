"""Prometheus's metrics: requests by route and status, their time, and the atlas that is served."""

from __future__ import annotations

from functools import cache

from flask import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.atlas_source import AtlasSource

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_METHODS = ("GET", "HEAD", "OPTIONS", "POST")


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self, source: AtlasSource) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "neuron_atlas_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "neuron_atlas_request_seconds",
            "Time from a request's arrival in the application to its answer.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        opened = Gauge(
            "neuron_atlas_atlases_opened",
            "Atlases opened since the start: 1, and 1 more each time another was published.",
            registry=self.registry,
        )
        opened.set_function(lambda: source.n_opened)

    def count(self, route: str, method: str, status: int, elapsed_s: float) -> None:
        """Count a request that is answered, and its time."""
        known = method if method in _METHODS else "other"
        counter, seconds = self._series(route, known, status)
        counter.inc()
        seconds.observe(elapsed_s)

    @cache  # noqa: B019 (lives as long as the application; `labels` costs more than counting)
    def _series(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(route, method, str(status)), self._seconds.labels(route)

    def answer(self) -> Response:
        """Write all metrics in Prometheus's text format."""
        return Response(generate_latest(self.registry), content_type=CONTENT_TYPE_LATEST)
