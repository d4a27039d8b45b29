"""Answers kept in memory, the last used longest: most requests are for a few units and concepts.

An answer depends on the atlas, the address and its query alone, so it is kept under all three
(`etag`, path, parameters in order) and whether it is packed. Another atlas has another `etag`:
nothing needs to be thrown away when one is published, what is old is used no more and falls out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, g, request

from api.answers import atlas
from api.http_caching import takes_gzip

DEFAULT_MAX_BYTES = 64 * 2**20
#: Of an answer, as a share of all: one must not push out the others.
_LARGEST_SHARE = 1 / 64
#: What each answer costs beside its bytes: its key, headers and place.
_OVERHEAD_BYTES = 1024

#: First parts of the addresses whose answers depend on the atlas alone. SQL's do: the functions
#: that it may name give the same for the same.
_KEPT = ("atlas", "layers", "units", "concepts", "images", "sql")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it goes out."""

    body: bytes
    headers: tuple[tuple[str, str], ...]


class ResponseCache:
    """Answers by key within a number of bytes; safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self.n_hits = 0
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Kept | None:
        """Give an answer, and count it as just used."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.n_hits += 1
            return found

    def put(self, key: Key, kept: Kept) -> None:
        """Keep an answer, and drop those that were not used for longest."""
        size = len(kept.body) + _OVERHEAD_BYTES
        if size > self.max_bytes * _LARGEST_SHARE:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = kept
            self.n_bytes += size
            while self.n_bytes > self.max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self.n_bytes -= len(dropped.body) + _OVERHEAD_BYTES


def register(app: Flask, prefix: str, max_bytes: int = DEFAULT_MAX_BYTES) -> ResponseCache:
    """Answer `app`'s addresses under `prefix` from memory where that is possible.

    To be called before other functions that change answers are registered: an answer is kept as
    they leave it.
    """
    cache = ResponseCache(max_bytes)

    @app.before_request
    def look_up() -> Response | None:
        if request.method not in ("GET", "HEAD") or not _is_kept(request.path, prefix):
            return None
        # The query is written anew, so the order of its parameters makes no difference.
        query = urlencode(sorted(request.args.items()))
        key = (atlas().etag, request.path, query, str(takes_gzip()))
        found = cache.get(key)
        if found is None:
            g.cache_key = key
            return None
        response = Response(found.body, headers=list(found.headers))
        return response.make_conditional(request)  # type: ignore[return-value]

    @app.after_request
    def keep(response: Response) -> Response:
        key: Any = g.pop("cache_key", None)
        if key is None or request.method != "GET" or response.status_code != 200:
            return response
        if response.headers.get("ETag") and not response.is_streamed:
            cache.put(key, Kept(response.get_data(), tuple(response.headers)))
        return response

    return cache


def _is_kept(path: str, prefix: str) -> bool:
    return path.startswith(prefix + "/") and path[len(prefix) + 1 :].startswith(_KEPT)
