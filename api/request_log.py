"""A name for each request, and one line of JSON about it in the log.

The name is the client's or proxy's own `X-Request-ID` if it sent a plain one, and goes back in the
answer: with it an operator finds the line of a request that somebody complains of.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

LOG = logging.getLogger("neuron_atlas.access")
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_ADDRESS = 500


def register(app: Flask) -> None:
    """Name all requests to `app`, and log them (level INFO) once they are answered."""

    @app.before_request
    def begin() -> None:
        name_request()
        g.log_started_s = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-ID"] = name_request()
        if LOG.isEnabledFor(logging.INFO):
            LOG.info(_line(response))
        return response


def name_request() -> str:
    """Give this request's name."""
    if "request_id" not in g:
        sent = request.headers.get("X-Request-ID", "")
        g.request_id = sent if _PLAIN.fullmatch(sent) else uuid.uuid4().hex
    name: str = g.request_id
    return name


def _line(response: Response) -> str:
    elapsed_s = time.perf_counter() - g.get("log_started_s", time.perf_counter())
    return json.dumps(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": g.request_id,
            "client": request.remote_addr,
            "method": request.method,
            "path": request.path[:_MAX_ADDRESS],
            "query": request.query_string[:_MAX_ADDRESS].decode("ascii", "replace"),
            "status": response.status_code,
            "bytes": response.content_length,
            "ms": round(elapsed_s * 1000, 2),
        }
    )


def to_stderr() -> None:
    """Print the lines to standard error, each as it is."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
