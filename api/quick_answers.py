"""Answers that need no Flask: units and concepts that were written out, and what is in memory.

A test holds them to be what Flask's views answer, byte for byte and header for header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from flask import Flask

from api import cursors, http_caching
from api.answers import first_page
from api.atlas_source import AtlasSource, OpenAtlas
from api.parameters import MAX_WORD, ConceptQuery
from api.response_cache import Kept, ResponseCache
from atlas_db import packed_json
from atlas_db.concepts import fold
from atlas_db.errors import AtlasFileError
from atlas_db.ready_answers import N_CONCEPT_UNITS

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Queries that ask for what is asked for without one, as the Python client writes them.
_PLAIN_QUERIES = ("", f"limit={N_CONCEPT_UNITS}", f"match=exact&limit={N_CONCEPT_UNITS}")
_PLAIN_CONCEPT = ConceptQuery()


_QUICK = "quick_answers"


def register(app: Flask, quick: QuickAnswers) -> None:
    """Let the server know what `app` answers at once."""
    app.extensions[_QUICK] = quick


def of(app: Flask) -> QuickAnswers:
    """Give what `app` answers at once."""
    found: QuickAnswers = app.extensions[_QUICK]
    return found


class QuickAnswers:
    """What can be answered at once.

    Args:
        source: The atlas.
        cache: Answers that Flask gave.
        prefix: Of the addresses, "/api/v1".
    """

    def __init__(self, source: AtlasSource, cache: ResponseCache, prefix: str) -> None:
        self._source = source
        self._cache = cache
        self._prefix = prefix
        self._unit = re.compile(re.escape(prefix) + "/units/([0-9]{1,9})/([0-9]{1,9})")
        self._concepts = f"{prefix}/concepts/"
        self._sql = f"{prefix}/sql"

    def are_probable(self, path: str, query: str) -> bool:
        """Say of an address whether its answer is written out or in memory; looks at no file."""
        if self._source.has_answers:
            if path.startswith(self._concepts) and query in _PLAIN_QUERIES:
                return True
            if not query and self._unit.fullmatch(path):
                return True
        return self._is_kept(path, query)

    def _is_kept(self, path: str, query: str) -> bool:
        """Say whether an answer is in memory.

        Strangers' SQL is not counted: asked again under another name of the server it is not in
        memory, and takes a second.
        """
        etag = self._source.etag
        if etag is None or path.startswith(self._sql):
            return False
        return self._cache.has(etag, path, query)

    def find(self, environ: WSGIEnvironment) -> Kept | None:
        """Give the answer to a request, as it goes out with status 200; None: ask Flask."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or "HTTP_IF_MATCH" in environ:
            return None
        if not environ["PATH_INFO"].startswith(self._prefix):
            return None
        try:
            atlas = self._source.acquire()
        except AtlasFileError:
            return None  # Flask says so
        try:
            return self._ready(atlas, environ) or self._cache.of(environ, atlas.etag)
        finally:
            self._source.release(atlas)

    def _ready(self, atlas: OpenAtlas, environ: WSGIEnvironment) -> Kept | None:
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        if path.startswith(self._concepts):
            return self._concept(atlas, environ) if query in _PLAIN_QUERIES else None
        found = self._unit.fullmatch(path) if not query else None
        if found is None:
            return None
        layer, unit = int(found[1]), int(found[2])
        if layer >= atlas.info.n_layers or unit >= atlas.info.units_per_layer:
            return None
        packed = atlas.answers.unit(layer * atlas.info.units_per_layer + unit)
        if packed is None:
            return None
        return _answer(packed, environ, atlas.etag, f"{self._prefix}/units/<layer>/<unit>")

    def _concept(self, atlas: OpenAtlas, environ: WSGIEnvironment) -> Kept | None:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        word = path[len(self._concepts) :]
        folded = fold(word) if len(word) <= MAX_WORD else None
        found = None if folded is None else atlas.answers.concept(folded)
        if found is None:
            return None
        more = N_CONCEPT_UNITS if found.n_units > N_CONCEPT_UNITS else None
        cursor = first_page(atlas, path, _PLAIN_CONCEPT).next_cursor(more)
        packed = packed_json.close(found.packed, {"next_cursor": cursor})
        asked = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        link = () if cursor is None else (("Link", cursors.link(asked, cursor)),)
        return _answer(packed, environ, atlas.etag, f"{self._concepts}<text:concept>", link)


def _answer(
    packed: bytes,
    environ: WSGIEnvironment,
    etag: str,
    route: str,
    more: tuple[tuple[str, str], ...] = (),
) -> Kept:
    """Make the answer of JSON that was packed with gzip."""
    coding: tuple[tuple[str, str], ...] = (("Content-Encoding", "gzip"),)
    body = packed
    if not http_caching.takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
        coding, body = (), packed_json.unpack(packed)
    headers = (
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("ETag", f'W/"{etag}"'),
        ("Cache-Control", http_caching.REVALIDATE),
        *http_caching.STANDING,
        ("Vary", "Accept-Encoding"),
        *coding,
        *more,
    )
    return Kept(body, headers, etag, route)
