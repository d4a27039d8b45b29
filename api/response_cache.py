"""Answers kept in memory, the last used longest: most requests are for a few units and concepts.

An answer depends on the atlas, the address (the server's own too: a frame's page names it) and its
query alone, so it is kept under these and whether it is packed. Another atlas has another `etag`:
nothing needs to be thrown away when one is published, what is old is used no more and falls out.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from api.answers import atlas
from api.http_caching import takes_gzip

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

DEFAULT_MAX_BYTES = 64 * 2**20
#: Of an answer, as a share of all: one must not push out the others.
_LARGEST_SHARE = 1 / 64
#: What each answer costs beside its bytes: its key, headers and place.
_OVERHEAD_BYTES = 1024

#: First parts of the addresses whose answers depend on the atlas alone. SQL's do: the functions
#: that it may name give the same for the same.
_KEPT = ("atlas", "layers", "experiments", "units", "concepts", "images", "sql")

Key = tuple[str, str, str, str, str]  # etag, server, path, query, whether it is packed


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer with status 200 as it goes out.

    Attributes:
        body: As it is sent, with gzip if `headers` say so.
        headers: All that do not depend on who asks.
        etag: Of the atlas, without quotes.
        route: The rule that it answers.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...]
    etag: str
    route: str


class ResponseCache:
    """Answers by key within a number of bytes; safe to share between threads."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._addresses: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def of(self, environ: WSGIEnvironment, etag: str) -> Kept | None:
        """Give the answer of an atlas to a request."""
        return self.get(_key(environ, etag))

    def get(self, key: Key) -> Kept | None:
        """Give an answer, and count it as just used."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def has(self, etag: str, path: str, query: str) -> bool:
        """Say whether an atlas's answer for an address is kept, in one of its forms."""
        return (etag, path, query) in self._addresses

    def put(self, key: Key, kept: Kept) -> None:
        """Keep an answer, and drop those that were not used for longest."""
        size = len(kept.body) + _OVERHEAD_BYTES
        if size > self.max_bytes * _LARGEST_SHARE:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = kept
            self._addresses[_address(key)] += 1
            self.n_bytes += size
            while self.n_bytes > self.max_bytes:
                self._drop_the_oldest()

    def _drop_the_oldest(self) -> None:
        key, dropped = self._kept.popitem(last=False)
        self.n_bytes -= len(dropped.body) + _OVERHEAD_BYTES
        address = _address(key)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]


def _address(key: Key) -> tuple[str, str, str]:
    etag, _, path, query, _ = key
    return etag, path, query


def _key(environ: WSGIEnvironment, etag: str) -> Key:
    packed = takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
    server = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
    return etag, server, environ["PATH_INFO"], environ.get("QUERY_STRING", ""), str(packed)


def register(app: Flask, cache: ResponseCache, prefix: str) -> None:
    """Keep what `app` answers under `prefix`.

    To be called before other functions that change answers are registered: an answer is kept as
    they leave it.
    """
    kept = tuple(f"{prefix}/{name}" for name in _KEPT)

    @app.after_request
    def keep(response: Response) -> Response:
        rule = request.url_rule
        if request.method != "GET" or response.status_code != 200 or rule is None:
            return response
        if not request.path.startswith(kept) or response.is_streamed or not response.get_etag()[0]:
            return response
        etag = atlas().etag
        # The server dates each answer anew.
        headers = tuple(header for header in response.headers if header[0] != "Date")
        key = _key(request.environ, etag)
        cache.put(key, Kept(response.get_data(), headers, etag, rule.rule))
        return response
