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
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOG = logging.getLogger("neuron_atlas.access")
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_ADDRESS = 500


def name_of(sent: str) -> str:
    """Give a request's name: what was sent as such, or one of its own."""
    return sent if _PLAIN.fullmatch(sent) else uuid.uuid4().hex


def write(
    name: str,
    environ: WSGIEnvironment,
    status: str,
    headers: Sequence[tuple[str, str]],
    elapsed_s: float,
) -> None:
    """Log a request (level INFO) that is about to be answered."""
    if not LOG.isEnabledFor(logging.INFO):
        return
    length = dict(headers).get("Content-Length")
    LOG.info(
        json.dumps(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "id": name,
                "client": environ.get("REMOTE_ADDR"),
                "method": environ["REQUEST_METHOD"],
                "path": _text(environ["PATH_INFO"]),
                "query": _text(environ.get("QUERY_STRING", "")),
                "status": int(status[:3]),
                "bytes": None if length is None else int(length),
                "ms": round(elapsed_s * 1000, 2),
            }
        )
    )


def _text(part: str) -> str:
    """Give a part of an address, whose bytes WSGI hands over as letters."""
    return part.encode("latin-1", "replace").decode("utf-8", "replace")[:_MAX_ADDRESS]


def to_stderr() -> None:
    """Print the lines to standard error, each as it is."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
