"""Opaque cursors: where the next rows begin, bound to the query and the atlas they belong to.

A cursor that is used with other filters, or after another atlas was published, would skip rows
without a word; so it carries a fingerprint of both and is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from api.errors import ApiError

_FINGERPRINT_BYTES = 9
_OFFSET_BYTES = 5
#: Of a cursor: the base64 of those bytes, without its padding.
CURSOR_PATTERN = "^[A-Za-z0-9_-]{19}$"
_PAGING = frozenset({"cursor", "limit", "fields", "format"})


def fingerprint(content_hash: str, route: str, query: Mapping[str, Any]) -> bytes:
    """Digest what a cursor is bound to: all but `limit`, `fields` and `format`."""
    bound = {name: value for name, value in query.items() if name not in _PAGING}
    text = json.dumps([content_hash, route, bound], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).digest()[:_FINGERPRINT_BYTES]


def encode(offset: int | None, bound_to: bytes) -> str | None:
    """Make the cursor of the row at `offset`; None if there is no such row."""
    if offset is None:
        return None
    raw = bound_to + offset.to_bytes(_OFFSET_BYTES, "big")
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def link(asked: Mapping[str, str], cursor: str) -> str:
    """Write the header Link that leads from the answer to a query to the next rows (RFC 8288)."""
    return f'<?{urlencode({**asked, "cursor": cursor})}>; rel="next"'


def decode(cursor: str | None, bound_to: bytes) -> int:
    """Read the offset of a cursor; 0 without one.

    Raises:
        ApiError: It is no cursor (status 400), or of another query or another atlas (409).
    """
    if cursor is None:
        return 0
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):  # ValueError: a character outside of ASCII
        raw = b""
    if len(raw) != _FINGERPRINT_BYTES + _OFFSET_BYTES:
        raise ApiError(
            400,
            "bad_cursor",
            f"cursor must be the next_cursor of the answer before, got {cursor[:60]!r}.",
            "Leave cursor out to begin at the first row.",
        )
    if raw[:_FINGERPRINT_BYTES] != bound_to:
        raise ApiError(
            409,
            "cursor_of_another_query",
            "This cursor belongs to another query, or the atlas has changed since it was given.",
            "Leave cursor out to begin at the first row, and keep the filters between pages.",
        )
    return int.from_bytes(raw[_FINGERPRINT_BYTES:], "big")
