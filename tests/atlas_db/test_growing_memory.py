"""Statements are asked again with more memory, as long as that is what they lack."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from atlas_db.connection import open_atlas
from atlas_db.growing_memory import GrowingMemory

#: Some 8 MB to be held at once.
_SORT = text(
    "SELECT max(x) FROM (SELECT hash(i) AS x FROM range(1000000) t(i) ORDER BY x LIMIT 9e5)"
)


@pytest.fixture
def connection(synthetic_atlas: Path, tmp_path: Path) -> Iterator[Connection]:
    # A file of its own: whoever has one open in a process shares its memory.
    own = shutil.copy(synthetic_atlas, tmp_path / "own.duckdb")
    engine = open_atlas(own, threads=1, memory_mb=4)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET temp_directory = ''")
        yield connection
    engine.dispose()


def _ask(connection: Connection) -> int:
    return int(connection.execute(_SORT).scalar_one())


def test_memory_grows_until_it_suffices(connection: Connection) -> None:
    with pytest.raises(DBAPIError, match="Out of Memory"):
        _ask(connection)
    memory = GrowingMemory(connection, 4, 256)
    assert memory.enough_for(lambda: _ask(connection)) > 0
    assert 8 <= memory.mb <= 128


def test_it_grows_no_further_than_it_may(connection: Connection) -> None:
    memory = GrowingMemory(connection, 4, 8)
    with pytest.raises(DBAPIError, match="Out of Memory"):
        memory.enough_for(lambda: _ask(connection))
    assert memory.mb == 8


def test_another_error_is_not_tried_again(connection: Connection) -> None:
    tries = []

    def ask() -> None:
        tries.append(1)
        connection.execute(text("SELECT * FROM nowhere"))

    memory = GrowingMemory(connection, 4, 256)
    with pytest.raises(DBAPIError, match="nowhere"):
        memory.enough_for(ask)
    assert (len(tries), memory.mb) == (1, 4)
