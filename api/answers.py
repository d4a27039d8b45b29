"""What every view shares: the request's atlas, and records as answers with ETag and cursors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask, Response, current_app, g, request

from api import cursors, http_caching
from api.atlas_source import AtlasSource, OpenAtlas
from api.parameters import Parameters
from atlas_db.as_json import as_json, dumps, dumps_plain
from atlas_db.connection import Connection
from atlas_db.records import Page
from atlas_db.row_formats import csv_line

_SOURCE = "atlas_source"


def register(app: Flask, source: AtlasSource) -> None:
    """Let `app`'s views read `source`; each request gives back what it took."""
    app.extensions[_SOURCE] = source
    app.teardown_appcontext(_give_back)


def source(app: Flask) -> AtlasSource:
    """Give what `app`'s views read."""
    found: AtlasSource = app.extensions[_SOURCE]
    return found


def atlas() -> OpenAtlas:
    """Give the atlas of this request: leased at the first call, the same to the request's end."""
    if "atlas" not in g:
        g.atlas = current_app.extensions[_SOURCE].acquire()
    lease: OpenAtlas = g.atlas
    return lease


def connection() -> Connection:
    """Give this request's connection to its atlas."""
    if "connection" not in g:
        g.connection = atlas().engine.connect()
    open_connection: Connection = g.connection
    return open_connection


def _give_back(_error: BaseException | None) -> None:
    open_connection = g.pop("connection", None)
    lease = g.pop("atlas", None)
    if open_connection is not None:
        open_connection.close()
    if lease is not None:
        current_app.extensions[_SOURCE].release(lease)


def answer(record: Any) -> Response:
    """Answer with a record, a mapping or a list."""
    return _answer_text(dumps(record))


def _answer_text(text: str) -> Response:
    response = Response(text + "\n", mimetype="application/json")
    return http_caching.tag(response, atlas().etag)


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a list goes on: the offset to read from, and how its next cursor is made."""

    query: Parameters
    fingerprint: bytes
    offset: int

    def next_cursor(self, next_offset: int | None) -> str | None:
        return cursors.encode(next_offset, self.fingerprint)


def first_page(of: OpenAtlas, path: str, query: Any) -> Paging:
    """Give where a list begins that a validated query asks an atlas for at a path."""
    asked = query.model_dump(mode="json")
    return Paging(query, cursors.fingerprint(of.info.content_hash, path, asked), offset=0)


def paging(query: Any) -> Paging:
    """Read the cursor of a validated query that has one.

    Raises:
        ApiError: The cursor is none (status 400), or of another query or atlas (409).
    """
    first = first_page(atlas(), request.path, query)
    return replace(first, offset=cursors.decode(query.cursor, first.fingerprint))


def answer_page(page: Page[Any], place: Paging, identity: str) -> Response:
    """Answer with rows, how many there are in all, and the cursor of the next.

    Args:
        page: What `atlas_db.queries` gave, or rows that are JSON already.
        place: Of `paging`.
        identity: The field that is kept of each row whatever `fields` says.
    """
    query: Any = place.query
    names = list(query.row.model_fields)
    rows = [row if isinstance(row, dict) else as_json(row) for row in page.rows]
    if query.fields is not None:
        kept = {identity, *query.fields.split(",")}
        names = [name for name in names if name in kept]
        rows = [{name: row[name] for name in names} for row in rows]
    cursor = place.next_cursor(page.next_offset)
    if query.format == "json":
        whole = {"rows": rows, "total": page.total, "next_cursor": cursor}
        response = _answer_text(dumps_plain(whole))
    else:
        response = _rows_alone(names, rows, query.format)
        response.headers["X-Total"] = str(page.total)
    return link_to_next(response, cursor)


def _rows_alone(names: Sequence[str], rows: Sequence[Mapping[str, Any]], form: str) -> Response:
    if form == "csv":
        lines = [csv_line(names), *(csv_line([row[name] for name in names]) for row in rows)]
        response = Response("".join(lines), content_type="text/csv; charset=utf-8")
    else:
        text = "".join(f"{dumps_plain(row)}\n" for row in rows)
        response = Response(text, content_type="application/x-ndjson")
    return http_caching.tag(response, atlas().etag)


def link_to_next(response: Response, cursor: str | None) -> Response:
    """Say in a Link header where the next rows are."""
    if cursor is not None:
        response.headers["Link"] = cursors.link(request.args, cursor)
    return response
