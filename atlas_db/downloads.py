"""An atlas in pieces that can be sent: which tables are small enough, as Parquet files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_db.connection import Connection, open_atlas
from atlas_db.export import export
from atlas_db.export_card import FileRecord
from atlas_db.records import TableRecord
from atlas_db.sql_schema import tables

#: Rows from whose size as Parquet that of the whole table is estimated.
_SAMPLE_ROWS = 2000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A table that is not sent, and about how large it would be."""

    table: TableRecord
    estimated_bytes: int


def export_small_tables(
    database: Path, folder: Path, *, max_bytes: int, without: Collection[str] = ()
) -> tuple[tuple[FileRecord, ...], tuple[LeftOut, ...]]:
    """Write the tables of at most `max_bytes` into a new folder as Parquet.

    Args:
        folder: Must not exist yet; one beside it, `FOLDER.sample`, is used on the way.
        without: Tables that are not to be sent.

    Returns:
        The files, and the tables that are larger.

    Raises:
        AtlasFileError: The atlas cannot be read.
        AtlasError: The folder cannot be written.
    """
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            every = [table for table in tables(connection) if table.n_rows is not None]
            sample = folder.with_name(folder.name + ".sample")
            sizes = {table.table: _estimate(connection, table, sample) for table in every}
    finally:
        engine.dispose()
    wanted = [table for table in every if table.table not in without]
    # A sample compresses worse than the whole: what is written decides.
    chosen = [table.table for table in wanted if sizes[table.table] <= 2 * max_bytes]
    files = export(database, folder, form="parquet", only=chosen) if chosen else ()
    small = tuple(file for file in files if file.size_bytes <= max_bytes)
    sent = {file.table.table for file in small}
    exact = {file.table.table: file.size_bytes for file in files}
    left = tuple(
        LeftOut(table, exact.get(table.table, sizes[table.table]))
        for table in wanted
        if table.table not in sent
    )
    return small, left


def _estimate(connection: Connection, table: TableRecord, sample: Path) -> int:
    raw: Any = connection.connection.dbapi_connection
    target = str(sample).replace("'", "''")
    raw.execute(
        f"COPY (FROM \"{table.table}\" LIMIT {_SAMPLE_ROWS}) TO '{target}' "
        "(FORMAT parquet, COMPRESSION zstd)"
    )
    size = sample.stat().st_size
    sample.unlink()
    return int(size * max(1, (table.n_rows or 0) / _SAMPLE_ROWS))
