"""Cross-origin requests: who may read the API from a page of another site.

The API is public and read-only and knows no cookies, so by default everybody may (`*`).
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, Response, request

EVERYBODY: tuple[str, ...] = ("*",)
_REQUEST_HEADERS = "Accept, Content-Type, If-None-Match"
_RESPONSE_HEADERS = "ETag, Link, Retry-After, X-Request-ID, X-Truncated"
_PREFLIGHT_AGE_S = "86400"


def register(app: Flask, origins: Sequence[str], prefix: str) -> None:
    """Let pages of `origins` read what lies under `prefix`.

    Args:
        app: The application.
        origins: Such as "https://example.org"; "*" is everybody, none is nobody.
        prefix: Of the addresses, "/api".

    Raises:
        ValueError: An origin is not of the form scheme://host.
    """
    for origin in origins:
        if origin != "*" and ("://" not in origin or origin.endswith("/")):
            raise ValueError(
                f"an origin for CORS must be '*' or like 'https://example.org', got {origin!r}"
            )
    if not origins:
        return
    allowed = frozenset(origins)

    @app.after_request
    def add_headers(response: Response) -> Response:
        if not request.path.startswith(prefix):
            return response
        origin = request.headers.get("Origin", "")
        if "*" in allowed:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            response.vary.add("Origin")
            if origin not in allowed:
                return response
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_AGE_S
        return response
