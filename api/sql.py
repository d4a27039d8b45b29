"""Addresses of SQL: strangers' statements, each in a process of its own, and what they can ask."""

from __future__ import annotations

import re
from collections.abc import Mapping

from apiflask import APIBlueprint
from flask import Flask, Response, current_app, request

from api import schemas
from api.answers import answer, atlas, connection
from api.errors import ApiError
from api.http_caching import tag
from api.parameters import NoQuery, SqlBody, SqlQuery
from api.rate_limit import client_of
from api.shares import Shares
from atlas_db.sql_rules import FUNCTIONS, MAX_STATEMENT_BYTES
from atlas_db.sql_sandbox import SqlAnswer, SqlError, SqlLimits, SqlSandbox
from atlas_db.sql_schema import tables

blueprint = APIBlueprint("sql", __name__, tag="SQL")

#: Of each format: its type, and how a file of it is called.
TYPES: Mapping[str, tuple[str, str]] = {
    "json": ("application/json", ""),
    "csv": ("text/csv", "result.csv"),
    "ndjson": ("application/x-ndjson", "result.ndjson"),
    "parquet": ("application/vnd.apache.parquet", "result.parquet"),
    "arrow": ("application/vnd.apache.arrow.stream", "result.arrows"),
}
#: Status of each way to fail. 403 and 409 and not 400: the request is well formed.
_STATUSES = {
    "sql_refused": 403,
    "sql_failed": 409,
    "sql_too_big": 409,
    "sql_too_slow": 409,
    "sql_busy": 429,
}
_RETRY_AFTER_S = "1"
_SANDBOX, _SHARES = "sql_sandbox", "sql_shares"


def register(app: Flask, limits: SqlLimits | None) -> None:
    """Let `app` run SQL within limits; None: it runs none, and says so."""
    app.extensions[_SANDBOX] = None if limits is None else SqlSandbox(limits)
    if limits is not None:
        n_places = limits.n_at_once + limits.n_waiting
        app.extensions[_SHARES] = Shares(max(1, n_places // 2))
    app.register_error_handler(SqlError, _sql_error)


def start(app: Flask) -> None:
    """Get ready for the first statement."""
    if app.extensions[_SANDBOX] is not None:
        app.extensions[_SANDBOX].start()


def close(app: Flask) -> None:
    """End the processes of `app`'s statements."""
    if app.extensions[_SANDBOX] is not None:
        app.extensions[_SANDBOX].close()


def _sql_error(error: SqlError) -> Response:
    headers = {"Retry-After": _RETRY_AFTER_S} if error.code == "sql_busy" else {}
    status = _STATUSES[error.code]
    return ApiError(status, error.code, str(error), error.hint).response(headers)


def _sandbox() -> SqlSandbox:
    sandbox: SqlSandbox | None = current_app.extensions[_SANDBOX]
    if sandbox is None:
        raise ApiError(
            404,
            "no_sql",
            "This server runs no SQL.",
            "Download the atlas, and ask your own DuckDB: `neuron-atlas sql`.",
        )
    return sandbox


def _run(asked: SqlBody) -> SqlAnswer:
    sandbox, shares = _sandbox(), current_app.extensions[_SHARES]
    with shares.one(client_of(request.remote_addr or "")) as has_room:
        if not has_room:
            raise SqlError(
                "sql_busy",
                f"{shares.most} statements of yours run or wait already.",
                "Wait for an answer before you ask more, or download the atlas and ask your own "
                "DuckDB.",
            )
        return sandbox.ask(
            atlas().identity.path,
            asked.q,
            asked.parameters,
            form=asked.format,
            max_rows=asked.limit,
        )


def _ask(asked: SqlBody) -> Response:
    found = _run(asked)
    kind, file_name = TYPES[asked.format]
    response = Response(found.body, content_type=kind)
    response.headers["X-Truncated"] = "true" if found.truncated else "false"
    if file_name:
        response.headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


@blueprint.get("/sql")
@blueprint.input(SqlQuery, location="query")
@blueprint.output(schemas.SqlResult)
def ask_sql(query_data: SqlQuery) -> Response:
    """Ask one SELECT of DuckDB's SQL

    A statement is stopped after some time, memory, rows and bytes; `/sql/schema` says after how
    much, and lists the tables and functions that it may name.
    """
    return tag(_ask(query_data), atlas().etag)


@blueprint.post("/sql")
@blueprint.input(NoQuery, location="query")
@blueprint.input(SqlBody, location="json")
@blueprint.output(schemas.SqlResult)
def post_sql(query_data: NoQuery, json_data: SqlBody) -> Response:
    """Ask one SELECT that is too long for an address"""
    response = _ask(json_data)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/sql/schema")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.SqlSchema)
def show_sql_schema(query_data: NoQuery) -> Response:
    """Tables, columns, functions and limits of SQL"""
    limits = _sandbox().limits
    return answer(
        {
            "tables": tables(connection()),
            "functions": sorted(name for name in FUNCTIONS if re.match("[a-z]", name)),
            "limits": {
                "statement_bytes": MAX_STATEMENT_BYTES,
                "deadline_s": limits.deadline_s,
                "memory_mb": limits.memory_mb,
                "rows": limits.max_rows,
                "bytes": limits.max_bytes,
            },
        }
    )
