"""What the tables and columns of an atlas hold, in its file and for who asks."""

from pathlib import Path

import duckdb
import pytest

from atlas_db.connection import open_atlas
from atlas_db.records import TableRecord
from atlas_db.sql_schema import tables
from atlas_db.views import VIEWS


@pytest.fixture(scope="module")
def found(synthetic_atlas: Path) -> dict[str, TableRecord]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        return {table.table: table for table in tables(connection)}


def test_every_table_and_every_column_is_described(found: dict[str, TableRecord]) -> None:
    assert {"atlas", "units", "experiments", *(view.name for view in VIEWS)} <= set(found)
    for table in found.values():
        assert table.about.endswith("."), table.table
        for column in table.columns:
            assert column.about, f"{table.table}.{column.name}"
            assert not column.about.endswith("."), f"{table.table}.{column.name}"


def test_a_column_is_described_where_it_stands(found: dict[str, TableRecord]) -> None:
    def about(table: str, name: str) -> str:
        return next(column.about for column in found[table].columns if column.name == name)

    assert about("units", "uid") == about("attributions", "uid")
    assert (
        about("exemplars", "rank") == about("exemplar_activations", "rank") == "1: the most active"
    )
    assert about("negative_exemplars", "rank") == "1: the least"
    assert about("unit_figures", "n_zeroed_images") == "images on which it was zeroed"
    assert about("unit_figures", "iou") == about("unit_masks", "iou") != about("units", "uid")


def test_the_file_itself_says_the_same(
    synthetic_atlas: Path, found: dict[str, TableRecord]
) -> None:
    with duckdb.connect(str(synthetic_atlas), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
        named = connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    assert sorted(columns) == sorted(
        (table.table, column.name, column.about)
        for table in found.values()
        for column in table.columns
    )
    assert dict(named) == {name: table.about for name, table in found.items()}
