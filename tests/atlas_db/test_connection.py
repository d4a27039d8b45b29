"""Connections to one atlas: settings are the database's, and are set before there are others."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import Connection, text

from atlas_db.connection import Engine, open_atlas


def setting(connection: Connection, name: str) -> str:
    return str(connection.execute(text(f"SELECT current_setting('{name}')")).scalar())


@pytest.fixture
def engine(synthetic_atlas: Path) -> Iterator[Engine]:
    engine = open_atlas(synthetic_atlas, threads=1, memory_mb=300)
    yield engine
    engine.dispose()


def test_all_connections_have_the_settings(engine: Engine) -> None:
    with ExitStack() as opened:
        for connection in [opened.enter_context(engine.connect()) for _ in range(12)]:
            assert "late_materialization" in setting(connection, "disabled_optimizers")
            assert setting(connection, "threads") == "1"
            assert setting(connection, "memory_limit") == "286.1 MiB"


def test_no_later_connection_sets_what_others_plan_by(engine: Engine) -> None:
    """A set that is written while another thread reads it ends the process."""
    with engine.connect() as first, ExitStack() as opened:
        first.execute(text("SET disabled_optimizers = 'unnest_rewriter'"))
        others = [opened.enter_context(engine.connect()) for _ in range(12)]
        assert {setting(one, "disabled_optimizers") for one in others} == {"unnest_rewriter"}


def test_connections_are_kept_for_the_next(engine: Engine) -> None:
    with ExitStack() as opened:
        first = {
            id(opened.enter_context(engine.connect()).connection.dbapi_connection)
            for _ in range(12)
        }
    with ExitStack() as opened:
        again = {
            id(opened.enter_context(engine.connect()).connection.dbapi_connection)
            for _ in range(12)
        }
    assert again == first


def test_an_open_atlas_lets_others_of_the_process_open_the_file(synthetic_atlas: Path) -> None:
    """As a notebook does that asks `Atlas` and DuckDB itself."""
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    own = duckdb.connect(str(synthetic_atlas), read_only=True)
    assert own.execute("SELECT count(*) FROM units").fetchall() == [(96,)]
    own.close()
    engine.dispose()
