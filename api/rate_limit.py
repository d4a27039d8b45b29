"""So many requests a second for each client, and no more: the others are answered with 429.

A token bucket for each address, of IPv6 for each network of 64 bits: it holds 10 seconds' worth of
requests and fills evenly, so a page of pictures loads at once and a crawler is slowed down.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from flask import Flask, request

from api.errors import ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_BURST_S = 10.0
#: Clients that are remembered; who is forgotten starts with a full bucket.
_MAX_CLIENTS = 10_000
_OF_OPERATORS = ("/healthz", "/readyz", "/metrics")


class TokenBuckets:
    """The buckets of all clients; safe to share between threads.

    Args:
        per_second: Requests that a client may send in the long run.
    """

    def __init__(self, per_second: float) -> None:
        if not 0 < per_second < math.inf:
            raise ValueError(f"requests per second must be above 0, got {per_second}")
        self.per_second = per_second
        self.most = max(1.0, per_second * _BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, client: str, now_s: float) -> float:
        """Take one request of a client; give how long it must wait: 0 if it need not."""
        with self._lock:
            tokens, then_s = self._buckets.pop(client, (self.most, now_s))
            tokens = min(self.most, tokens + (now_s - then_s) * self.per_second)
            allowed = tokens >= 1.0
            self._buckets[client] = (tokens - 1.0 if allowed else tokens, now_s)
            if len(self._buckets) > _MAX_CLIENTS:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self.per_second


class RateLimit:
    """Holds each client to a rate under a prefix, but for operators' addresses.

    Args:
        prefix: Of the addresses, "/api".
        per_second: None: no limit.

    Raises:
        ValueError: The rate is not above 0.
    """

    def __init__(self, prefix: str, per_second: float | None) -> None:
        self.per_second = per_second
        self._prefix = prefix
        self._buckets = None if per_second is None else TokenBuckets(per_second)

    def wait_s(self, environ: WSGIEnvironment) -> float:
        """Take one request; give how long its client must wait: 0 if it need not."""
        path = environ["PATH_INFO"]
        if self._buckets is None or not path.startswith(self._prefix):
            return 0.0
        if path.endswith(_OF_OPERATORS):
            return 0.0
        return self._buckets.wait_s(client_of(environ.get("REMOTE_ADDR", "")), time.monotonic())


def client_of(address: str) -> str:
    """Say whose an address is: of IPv6 one client has the last 64 bits to choose from."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or f"{int(found) >> 64:x}::/64")


def register(app: Flask, limit: RateLimit) -> None:
    """Refuse what goes beyond a limit, of the requests that `app` answers."""

    @app.before_request
    def take() -> None:
        wait_s = limit.wait_s(request.environ)
        if wait_s > 0:
            raise ApiError(
                429,
                "too_many_requests",
                f"This server answers {limit.per_second:g} requests a second of one client.",
                "Wait as many seconds as Retry-After says, or download the atlas.",
                {"Retry-After": str(math.ceil(wait_s))},
            )
