"""What can be asked in SQL: the atlas's tables and their columns, as its file has them."""

from __future__ import annotations

import duckdb
from sqlalchemy import Connection, text

from atlas_db.json_sql import quoted
from atlas_db.records import ColumnRecord, TableRecord
from atlas_db.schema import Base
from atlas_db.views import VIEWS

#: What a row of each table and view is, and what a column holds.
_TABLES = {name: made.comment or "" for name, made in Base.metadata.tables.items()}
_TABLES |= {view.name: view.about for view in VIEWS}
_COLUMNS = {
    (name, column.name): column.comment
    for name, made in Base.metadata.tables.items()
    for column in made.columns
    if column.comment
}
_COLUMNS |= {(view.name, name): about for view in VIEWS for name, about in view.columns.items()}


def tables(connection: Connection) -> tuple[TableRecord, ...]:
    """List the atlas's tables and views by name."""
    sizes = "SELECT table_name, estimated_size FROM duckdb_tables() WHERE NOT internal"
    counts = {row[0]: int(row[1]) for row in connection.execute(text(sizes))}
    columns: dict[str, list[ColumnRecord]] = {}
    found = connection.execute(
        text(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'main' AND table_catalog = current_database() "
            "ORDER BY table_name, ordinal_position"
        )
    )
    for table, column, kind in found:
        about = _COLUMNS.get((table, column), "")
        columns.setdefault(table, []).append(ColumnRecord(column, kind, about))
    return tuple(
        TableRecord(name, _TABLES.get(name, ""), counts.get(name), tuple(rows))
        for name, rows in columns.items()
    )


def write_comments(connection: duckdb.DuckDBPyConnection) -> None:
    """Write these texts into an atlas, where any tool finds them.

    `SELECT table_name, column_name, comment FROM duckdb_columns()` lists them.
    """
    views = {view.name for view in VIEWS}
    for table, about in _TABLES.items():
        kind = "VIEW" if table in views else "TABLE"
        connection.execute(f"COMMENT ON {kind} {table} IS {quoted(about)}")
    found = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    for table, column in found:
        if (table, column) in _COLUMNS:
            about = quoted(_COLUMNS[table, column])
            connection.execute(f"COMMENT ON COLUMN {table}.{column} IS {about}")
