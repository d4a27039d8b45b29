"""Cursors: they come back as they were, and only to the query and the atlas they were made for."""

import re

import pytest

from api import cursors
from api.errors import ApiError

QUERY = {"layer": 2, "sort": "images", "limit": 50, "cursor": None, "fields": None}


def test_an_offset_comes_back() -> None:
    bound_to = cursors.fingerprint("hash", "/units", QUERY)
    for offset in (1, 50, 458_752, 2**39):
        cursor = cursors.encode(offset, bound_to)
        assert cursor is not None
        assert re.search(cursors.CURSOR_PATTERN, cursor)
        assert cursors.decode(cursor, bound_to) == offset


def test_no_cursor_is_the_first_row_and_no_next_row_is_no_cursor() -> None:
    assert cursors.decode(None, b"123456789") == 0
    assert cursors.encode(None, b"123456789") is None


def test_the_page_size_and_the_fields_may_change_between_pages() -> None:
    other = {**QUERY, "limit": 3, "fields": "uid", "cursor": "x"}
    assert cursors.fingerprint("hash", "/units", QUERY) == cursors.fingerprint(
        "hash", "/units", other
    )


@pytest.mark.parametrize(
    ("content_hash", "route", "query"),
    [
        ("other", "/units", QUERY),
        ("hash", "/images", QUERY),
        ("hash", "/units", {**QUERY, "layer": 1}),
        ("hash", "/units", {**QUERY, "sort": "uid"}),
    ],
)
def test_a_cursor_of_another_query_is_refused(
    content_hash: str, route: str, query: dict[str, object]
) -> None:
    cursor = cursors.encode(7, cursors.fingerprint("hash", "/units", QUERY))
    with pytest.raises(ApiError, match="another query") as caught:
        cursors.decode(cursor, cursors.fingerprint(content_hash, route, query))
    assert (caught.value.status, caught.value.code) == (409, "cursor_of_another_query")


@pytest.mark.parametrize("text", ["", "1", "0", "=", "é", "\x00", "%", "a" * 18, "a" * 200, "a+b/"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="next_cursor") as caught:
        cursors.decode(text, cursors.fingerprint("hash", "/units", QUERY))
    assert caught.value.status == 400
