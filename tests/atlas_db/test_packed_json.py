"""Packed JSON that is closed later is one gzip stream, and the text that it would have been."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_db import packed_json
from atlas_db.as_json import dumps

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
OBJECTS = st.dictionaries(TEXTS, st.one_of(st.integers(), TEXTS, st.none()), min_size=1)


@given(begun=OBJECTS, end=OBJECTS)
def test_closing_adds_fields_at_the_end(begun: dict[str, Any], end: dict[str, Any]) -> None:
    packed = packed_json.close(packed_json.pack_open(dumps(begun)), end)
    text = packed_json.unpack(packed)
    assert text.decode() == f"{dumps(begun)[:-1]},{dumps(end)[1:]}\n"
    # By others' lights too: one stream, nothing behind it, its checksum right.
    assert gzip.decompress(packed) == text
    reader = zlib.decompressobj(31)
    assert reader.decompress(packed) == text
    assert (reader.eof, reader.unused_data) == (True, b"")


def test_what_is_packed_whole_is_unpacked() -> None:
    packed = packed_json.pack('{"a":1}')
    assert packed_json.unpack(packed) == gzip.decompress(packed) == b'{"a":1}\n'


def test_an_end_of_almost_64_kib() -> None:
    packed = packed_json.pack_open(dumps({"a": "b" * 100_000}))
    longest = {"c": "d" * (65_535 - len(',"c":""}\n'))}
    closed = json.loads(gzip.decompress(packed_json.close(packed, longest)))
    assert len(closed["c"]) == 65_526
    with pytest.raises(Exception, match="format"):
        packed_json.close(packed, {"c": longest["c"] + "d"})
