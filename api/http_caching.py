"""ETag and 304 from the atlas's content hash, Cache-Control, and gzip.

Whatever the atlas answers depends on the address, the atlas and this version of the code, so the
same ETag serves all addresses; it is weak because the same answer goes out with gzip and without.
"""

from __future__ import annotations

from flask import Response, request
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from api.errors import ApiError
from atlas_db.packed_json import pack_bytes

#: May be kept, but is asked for again each time (and then costs a 304), so that nobody who reads
#: two addresses gets two atlases.
REVALIDATE = "public, no-cache"
#: Pictures: an hour old at most after another atlas was published.
AN_HOUR = "public, max-age=3600"

#: Headers of every answer: what it is, is said in Content-Type alone, and pages of this site alone
#: may put it into a frame.
STANDING = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "frame-ancestors 'self'"),
)

_GZIP_MIN_BYTES = 500
_GZIP_MAX_BYTES = 4 * 2**20
_TEXT_LIKE = (
    "application/json",
    "application/javascript",
    "application/x-ndjson",
    "application/xml",
    "image/svg+xml",
)


def tag(response: Response, etag: str, *, cache_control: str = REVALIDATE) -> Response:
    """Give an answer its ETag and Cache-Control, and make it a 304 if the client has it.

    Raises:
        ApiError: The client asks by If-Match for another than this (status 412).
    """
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = cache_control
    conditional = response.make_conditional(request)
    if conditional.status_code == 412:
        raise ApiError(
            412,
            "another_atlas",
            "What is served is not what If-Match names.",
            "Leave If-Match out: answers have weak ETags, which it never matches.",
        )
    return conditional  # type: ignore[return-value]


def client_has(etag: str) -> bool:
    """Say whether the client already has what `etag` stands for (before the work is done)."""
    return request.if_none_match.contains_weak(etag)


def takes_gzip(accept_encoding: str) -> bool:
    """Say whether a client with that header Accept-Encoding takes answers that are packed."""
    return parse_accept_header(accept_encoding, Accept).quality("gzip") > 0


def finish(response: Response) -> Response:
    """Add the headers of every answer; send text of some length with gzip to who takes it."""
    for name, value in STANDING:
        response.headers.setdefault(name, value)
    if _is_text(response.mimetype) and response.status_code in (200, 304):
        response.vary.add("Accept-Encoding")
        if response.status_code == 200:
            _compress(response)
    return response


def _compress(response: Response) -> None:
    length = response.content_length or 0
    if (
        "Content-Encoding" in response.headers
        or not _GZIP_MIN_BYTES <= length <= _GZIP_MAX_BYTES
        or not takes_gzip(request.headers.get("Accept-Encoding", ""))
    ):
        return
    response.direct_passthrough = False  # a file of the site: read it whole, it is small
    response.set_data(pack_bytes(response.get_data()))
    response.headers["Content-Encoding"] = "gzip"
    etag, is_weak = response.get_etag()
    if etag is not None and not is_weak:  # a strong one is of the bytes that were not packed
        response.set_etag(etag, weak=True)


def _is_text(mimetype: str | None) -> bool:
    return mimetype is not None and (mimetype.startswith("text/") or mimetype in _TEXT_LIKE)
