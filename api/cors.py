"""Cross-origin requests: who may read the API from a page of another site.

The API is public and read-only and knows no cookies, so by default everybody may (`*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

EVERYBODY: tuple[str, ...] = ("*",)
_REQUEST_HEADERS = "Accept, Content-Type, If-None-Match, X-Request-ID"
_RESPONSE_HEADERS = "ETag, Link, Retry-After, X-Request-ID, X-Total, X-Truncated"
_PREFLIGHT_AGE_S = "86400"


class Cors:
    """Lets pages of some origins read what lies under a prefix.

    Args:
        origins: Such as "https://example.org"; "*" is everybody, none is nobody.
        prefix: Of the addresses, "/api".

    Raises:
        ValueError: An origin is not of the form scheme://host.
    """

    def __init__(self, origins: Sequence[str], prefix: str) -> None:
        for origin in origins:
            if origin != "*" and ("://" not in origin or origin.endswith("/")):
                raise ValueError(
                    f"an origin for CORS must be '*' or like 'https://example.org', got {origin!r}"
                )
        self._origins = frozenset(origins)
        self._prefix = prefix

    def add_headers(self, environ: WSGIEnvironment, headers: list[tuple[str, str]]) -> None:
        """Add to an answer's headers what its reader's browser wants to know."""
        if not self._origins or not environ["PATH_INFO"].startswith(self._prefix):
            return
        allowed = "*"
        if "*" not in self._origins:
            _vary_by_origin(headers)
            allowed = environ.get("HTTP_ORIGIN", "")
            if allowed not in self._origins:
                return
        headers.append(("Access-Control-Allow-Origin", allowed))
        headers.append(("Access-Control-Expose-Headers", _RESPONSE_HEADERS))
        if environ["REQUEST_METHOD"] == "OPTIONS":
            headers.append(("Access-Control-Allow-Methods", dict(headers).get("Allow", "")))
            headers.append(("Access-Control-Allow-Headers", _REQUEST_HEADERS))
            headers.append(("Access-Control-Max-Age", _PREFLIGHT_AGE_S))


def _vary_by_origin(headers: list[tuple[str, str]]) -> None:
    said = [value for name, value in headers if name == "Vary"]
    headers[:] = [header for header in headers if header[0] != "Vary"]
    headers.append(("Vary", ", ".join([*said, "Origin"])))
