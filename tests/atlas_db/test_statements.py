"""Ranges of rows are the same, however many of them are read from the atlas at once."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, event, select, text

from atlas_db.queries import of_units
from atlas_db.queries.statements import RangeReader, ranged

# 0 to 3 rows of each key, none of 7; numbers, texts, lists and what is not there.
_ROWS = """
CREATE TABLE things AS
SELECT key, rank, 'x' || key || rank AS name, key / 4 AS share, [key, rank, key * rank] AS numbers,
    [name, ''] AS names, encode(name) AS packed, CASE WHEN rank = 1 THEN key END AS perhaps
FROM range(40) k(key), range(3) r(rank) WHERE rank < key % 4 AND key <> 7
"""
_COLUMNS = ("key", "rank", "name", "share", "numbers", "names", "packed", "perhaps")
THINGS: Table = Table("things", MetaData(), *(Column(name) for name in _COLUMNS))
STATEMENT = ranged(select(THINGS).order_by(THINGS.c.key, THINGS.c.rank), THINGS.c.key)


@pytest.fixture
def things() -> Iterator[Connection]:
    engine = create_engine("duckdb:///:memory:")
    with engine.connect() as connection:
        connection.execute(text(_ROWS))
        yield connection
    engine.dispose()


def _asked(connection: Connection, reader: RangeReader, step: int) -> tuple[list[Any], int]:
    """Read keys 2 to 37 in ranges; give all rows and the number of statements that it took."""
    n_asked = 0

    def count(*_: Any) -> None:
        nonlocal n_asked
        n_asked += 1

    event.listen(connection, "before_cursor_execute", count)
    rows = [
        tuple(row)
        for first in range(2, 38, step)
        for row in reader.rows(STATEMENT, first, min(first + step, 38))
    ]
    event.remove(connection, "before_cursor_execute", count)
    return rows, n_asked


@pytest.mark.parametrize("step", [1, 2, 5, 36])
@pytest.mark.parametrize("n_ahead", [0, 1, 4, 10, 1000])
def test_rows_read_ahead_are_those_of_their_range(
    things: Connection, step: int, n_ahead: int
) -> None:
    rows, n_asked = _asked(things, RangeReader(things, 38, n_ahead), step)
    in_sql = "SELECT * FROM things WHERE key BETWEEN 2 AND 37 ORDER BY key, rank"
    assert rows == [tuple(row) for row in things.execute(text(in_sql))]
    assert len(rows) == 51
    at_once = max(n_ahead // step * step, step)  # whole ranges
    assert n_asked == -(-36 // at_once)


def test_ranges_may_come_in_any_order(things: Connection) -> None:
    reader = RangeReader(things, 38, 10)
    assert [row[0] for row in reader.rows(STATEMENT, 30, 32)] == [30, 30, 31, 31, 31]
    assert [row[0] for row in reader.rows(STATEMENT, 2, 4)] == [2, 2, 3, 3, 3]  # before it
    assert [row[0] for row in reader.rows(STATEMENT, 38, 40)] == [38, 38, 39, 39, 39]  # past stop
    assert list(reader.rows(STATEMENT, 50, 52)) == []


def test_units_are_the_same_in_blocks_of_any_size(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[str]:
        return [repr(one) for one in of_units.unit_records(connection, 3, 90)]

    whole = found()
    assert len(whole) == 87
    for block, ahead in ((7, 20), (20, 7), (1, 1)):
        monkeypatch.setattr(of_units, "_BLOCK", block)
        monkeypatch.setattr(of_units, "_AHEAD", ahead)
        assert found() == whole
