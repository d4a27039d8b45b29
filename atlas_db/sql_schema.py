"""What can be asked in SQL: the atlas's tables and their columns, as its file has them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from atlas_db.schema import Base
from atlas_db.schema_experiments import VIEW_TEXTS

_VIEWS = {
    **VIEW_TEXTS,
    "exemplar_activations": "One row for each exemplar: its activation map as a list, row by row.",
}


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """A column and its type in DuckDB."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table or view, and what one row of it is."""

    table: str
    about: str
    n_rows: int | None  # None: a view
    columns: tuple[ColumnRecord, ...]


def tables(connection: Connection) -> tuple[TableRecord, ...]:
    """List the atlas's tables and views by name."""
    about = {
        str(mapper.class_.__tablename__): str(mapper.class_.__doc__).split("\n\n")[0]
        for mapper in Base.registry.mappers
    }
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
        columns.setdefault(table, []).append(ColumnRecord(column, kind))
    return tuple(
        TableRecord(name, about.get(name) or _VIEWS.get(name, ""), counts.get(name), tuple(rows))
        for name, rows in columns.items()
    )
