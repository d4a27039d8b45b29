"""JSON that DuckDB writes is what Python writes of the same records, letter for letter."""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from atlas_db import as_json, queries
from atlas_db.connection import Connection
from atlas_db.json_sql import joined, like_python, members, quoted
from atlas_db.ready_text import Summaries, concept_texts, unit_texts


@dataclass(frozen=True)
class _Row:
    text: str
    word: str | None
    count: int
    share: float
    wide: float | None
    is_so: bool
    counts: tuple[int, ...]


_COLUMNS = "text VARCHAR, word VARCHAR, count BIGINT, share FLOAT, wide DOUBLE, is_so BOOLEAN"


def _written(row: _Row) -> str:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({_COLUMNS}, counts INTEGER[])")
        values = [row.text, row.word, row.count, row.share, row.wide, row.is_so, list(row.counts)]
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        names = {name: name for name in _Row.__annotations__}
        whole = joined(quoted("{"), members(_Row, names), quoted("}"))
        (text,) = connection.execute(f"SELECT {whole} FROM t").fetchone() or ("",)
    return like_python(text)


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


@settings(max_examples=150, deadline=None)
@given(
    text=some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    share=some.floats(width=32),
    wide=some.none() | some.floats(),
    count=some.integers(-(2**63), 2**63 - 1),
)
def test_any_value_is_written_as_python_writes_it(
    text: str, share: float, wide: float | None, count: int
) -> None:
    row = _Row(text, text[:1] or None, count, share, wide, count > 0, (count % 7, 0))
    assert _written(row) == as_json.dumps(row)


@pytest.mark.parametrize("value", [
    0.0, -0.0, 1e-4, 1e-5, 9.999e-5, 1e15, 1e16, 1e17, 123456789012345680.0, 5e-324, math.inf,
    -math.inf, math.nan, _float32(0.1), _float32(1e-7), _float32(3e38), 0.1, 1 / 3, 100.0,
])  # fmt: skip
def test_numbers_at_the_edges(value: float) -> None:
    small = _float32(value) if abs(value) < 3.5e38 else 0.0
    row = _Row("", None, 0, small, value, False, ())
    assert _written(row) == as_json.dumps(row)


def test_control_characters_quotes_and_backslashes() -> None:
    text = "".join(map(chr, range(1, 0x20))) + '"\\\\u001F\\u001F</script>\x7f\u2028é😀'
    row = _Row(text, text[::-1], 1, 0.5, None, True, (1, 2, 3))
    found = _written(row)
    assert found == as_json.dumps(row)
    assert json.loads(found)["text"] == text


def test_a_field_that_a_record_has_not() -> None:
    with pytest.raises(ValueError, match="_Row has no field colour"):
        members(_Row, {"colour": "colour"})


def test_every_unit_and_concept(connection: Connection, tmp_path: Path) -> None:
    n_units = queries.atlas_info(connection).n_units
    summaries = Summaries(connection, n_units, tmp_path)
    assert len(summaries) == n_units
    found = dict(unit_texts(connection, summaries))
    wanted = {
        record.summary.uid: as_json.dumps(record)
        for record in queries.unit_records(connection, 0, n_units)
    }
    assert found == wanted
    concepts = {
        one.concept: (one.n_units, one.json) for one in concept_texts(connection, summaries)
    }
    assert concepts == {
        record.summary.concept: (record.summary.n_units, as_json.dumps(record))
        for record in queries.concept_records(connection)
    }
    assert not list(tmp_path.iterdir())
    with pytest.raises(IndexError):
        summaries[n_units]
