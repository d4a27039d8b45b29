"""The application: the API over one atlas, and the static site beside it on the same port."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apiflask import APIFlask
from flask import request
from flask.json.provider import DefaultJSONProvider
from werkzeug.routing import BaseConverter

from api import (
    answers,
    concepts,
    cors,
    embed,
    errors,
    front,
    http_caching,
    images,
    openapi,
    operations,
    quick_answers,
    rate_limit,
    response_cache,
    sql,
    sql_try,
    static_site,
    units,
    validation,
)
from api.atlas_source import AtlasSource
from api.cors import Cors
from api.errors import ApiError
from api.front import Front
from api.metrics import Metrics
from api.quick_answers import QuickAnswers
from api.rate_limit import RateLimit
from api.response_cache import ResponseCache
from atlas_db.sql_rules import MAX_STATEMENT_BYTES
from atlas_db.sql_sandbox import SqlLimits

PREFIX = "/api/v1"
MAX_QUERY_BYTES = 8192
MAX_PATH_BYTES = 4096
#: A statement of as many letters of four bytes, each written as %xx, and its parameters.
MAX_SQL_QUERY_BYTES = 12 * MAX_STATEMENT_BYTES + 2**16
#: A body is a statement and its parameters.
MAX_BODY_BYTES = 64 * 2**10
_DEFAULT_SQL_LIMITS = SqlLimits() if hasattr(os, "fork") else None


class _Json(DefaultJSONProvider):
    """Says of JSON that is nested too deeply that it is wrong, instead of failing."""

    def loads(self, s: str | bytes, **options: Any) -> Any:
        try:
            return super().loads(s, **options)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class AnyText(BaseConverter):
    """The rest of the path, whatever it holds; Werkzeug's own `path` stops at line breaks."""

    part_isolating = False
    regex = r"[\s\S]+?"


def create_app(
    database: Path,
    *,
    site: Path | None = None,
    origins: Sequence[str] = cors.EVERYBODY,
    sql_limits: SqlLimits | None = _DEFAULT_SQL_LIMITS,
    requests_per_s: float | None = None,
) -> APIFlask:
    """Make the WSGI application.

    The atlas is opened at the first request that needs it, and another one when `database` leads to
    another file (a symlink that was pointed elsewhere, or a file renamed over it). While there is
    none, requests that need it are answered with 503.

    Args:
        database: The atlas, or a symlink to it.
        site: The folder that `neuron-atlas site` wrote; it is served under `/`.
        origins: Whose pages may read the API: "*" is everybody's, an empty tuple nobody's.
        sql_limits: What a statement of SQL may cost; None: none is run.
        requests_per_s: That one client may send to the API in the long run; None: any number.

    Raises:
        ValueError: An origin is not of the form scheme://host, or the rate not above 0.
    """
    app = APIFlask(
        __name__,
        title="neuron-atlas",
        version=version("neuron-atlas"),
        spec_path="/api/openapi.json",
        docs_path=None,
        static_folder=None,  # type: ignore[arg-type]
    )
    app.json = _Json(app)
    _configure(app)
    source, cache = AtlasSource(database), ResponseCache()
    metrics, limit = Metrics(source), RateLimit("/api", requests_per_s)
    quick = QuickAnswers(source, cache, PREFIX)
    app.wsgi_app = Front(  # type: ignore[method-assign]
        app.wsgi_app, cors=Cors(origins, "/api"), limit=limit, metrics=metrics, quick=quick
    )
    front.register(app)
    quick_answers.register(app, quick)
    answers.register(app, source)
    errors.register(app, validation.clauses)
    sql.register(app, sql_limits)
    rate_limit.register(app, limit)
    app.before_request(_refuse_what_is_too_long)
    app.before_request(_refuse_repeated_parameters)
    response_cache.register(app, cache, PREFIX)
    app.after_request(http_caching.finish)
    for part in (units, concepts, images, embed, sql):
        app.register_blueprint(part.blueprint, url_prefix=PREFIX)
    app.register_blueprint(operations.operations_blueprint(metrics), url_prefix=PREFIX)
    operations.at_the_root(app)
    openapi.register(app)
    sql_try.register(app)
    embed.register(app, site)
    static_site.register(app, site)
    return app


def _configure(app: APIFlask) -> None:
    app.config.update(
        AUTO_404_RESPONSE=False,
        AUTO_OPERATION_ID=True,
        AUTO_SERVERS=False,  # the first request's Host would be everybody's server
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        DESCRIPTION=openapi.DESCRIPTION,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        LICENSE={"name": "MIT", "identifier": "MIT"},
        OPENAPI_VERSION="3.1.0",
        VALIDATION_ERROR_STATUS_CODE=400,
    )
    # A concept may hold slashes anywhere.
    app.url_map.merge_slashes = False
    app.url_map.converters["text"] = AnyText


def _refuse_what_is_too_long() -> None:
    is_sql = request.path == f"{PREFIX}/sql"
    for name, text, most in (
        ("query", request.query_string, MAX_SQL_QUERY_BYTES if is_sql else MAX_QUERY_BYTES),
        ("path", request.path.encode("utf-8", "replace"), MAX_PATH_BYTES),
    ):
        if len(text) > most:
            raise ApiError(
                414,
                "address_too_long",
                f"The {name} is of {len(text)} bytes; {most} at most are taken.",
                "Shorten it.",
            )


def _refuse_repeated_parameters() -> None:
    if not request.path.startswith("/api"):
        return
    for name, values in request.args.lists():
        if len(values) > 1:
            raise ApiError(
                400,
                "bad_parameter",
                f"{name[:100]}: given {len(values)} times, wanted once.",
                "Give each parameter once.",
            )
