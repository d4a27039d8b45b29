"""What the web server calls: around Flask, what every request shares, and answers without Flask.

Each request gets its name, its line in the log, its place in the metrics and its headers of CORS
here, whether Flask answers it or not. What is ready (`api.quick_answers`) is sent at once: Flask's
routing, contexts and checks cost several times what such an answer does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from werkzeug.http import is_resource_modified, remove_entity_headers

from api import request_log
from api.cors import Cors
from api.metrics import Metrics
from api.quick_answers import QuickAnswers
from api.rate_limit import RateLimit
from api.response_cache import Kept

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ROUTE = "neuron_atlas.route"


class Front:
    """A WSGI application around another."""

    def __init__(
        self,
        inner: WSGIApplication,
        *,
        cors: Cors,
        limit: RateLimit,
        metrics: Metrics,
        quick: QuickAnswers,
    ) -> None:
        self._inner = inner
        self._cors = cors
        self._limit = limit
        self._metrics = metrics
        self._quick = quick

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started_s = time.perf_counter()
        name = request_log.name_of(environ.get("HTTP_X_REQUEST_ID", ""))

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self._cors.add_headers(environ, headers)
            headers.append(("X-Request-ID", name))
            elapsed_s = time.perf_counter() - started_s
            # The rule and not the address, or strangers could make any number of series.
            route = environ.get(_ROUTE, "unknown")
            self._metrics.count(route, environ["REQUEST_METHOD"], int(status[:3]), elapsed_s)
            request_log.write(name, environ, status, headers, elapsed_s)
            return start_response(status, headers, exc_info)

        found = self._quick.find(environ)
        # Who has sent too many requests is told so by Flask.
        if found is not None and self._limit.wait_s(environ) == 0:
            environ[_ROUTE] = found.route
            return _send(found, environ, start)
        return self._inner(environ, start)


def _send(found: Kept, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    headers = list(found.headers)
    if "HTTP_IF_NONE_MATCH" in environ and not is_resource_modified(environ, found.etag):
        remove_entity_headers(headers)
        start("304 NOT MODIFIED", headers)
        return ()
    start("200 OK", headers)
    return () if environ["REQUEST_METHOD"] == "HEAD" else (found.body,)


def register(app: Flask) -> None:
    """Let `app` say which of its rules each request is for."""

    @app.before_request
    def tell_the_rule() -> None:
        if request.url_rule is not None:
            request.environ[_ROUTE] = request.url_rule.rule
