"""Tables as DuckDB files of their own, which DuckDB-Wasm opens without an extension.

DuckDB-Wasm would fetch its reader of Parquet from another host; a native file of an old storage
version needs nothing. One file a table, so that a question costs the tables that it names alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import duckdb

from atlas_db.connection import open_atlas
from atlas_db.records import TableRecord
from atlas_db.sql_schema import tables

#: What DuckDB-Wasm 1.32 reads.
STORAGE_VERSION = "v1.2.0"

#: DuckDB's smallest: with its usual one the smallest table takes half a megabyte.
_BLOCK_BYTES = 16_384
_GUESSED_ROW_BYTES = 40


def write_browser_tables(
    database: Path, folder: Path, *, max_bytes: int, without: Collection[str] = ()
) -> list[tuple[TableRecord, Path]]:
    """Write each table of at most `max_bytes` as `folder/NAME.duckdb`.

    Raises:
        AtlasFileError: The atlas cannot be read.
    """
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            every = [table for table in tables(connection) if table.n_rows is not None]
    finally:
        engine.dispose()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in every:
        if table.table in without or (table.n_rows or 0) * _GUESSED_ROW_BYTES > 4 * max_bytes:
            continue
        path = folder / f"{table.table}.duckdb"
        _write(database, table.table, path)
        if path.stat().st_size <= max_bytes:
            written.append((table, path))
        else:
            path.unlink()
    return written


def _write(database: Path, table: str, path: Path) -> None:
    source, target = (str(name).replace("'", "''") for name in (database, path))
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{source}' AS atlas (READ_ONLY)")
        options = f"STORAGE_VERSION '{STORAGE_VERSION}', BLOCK_SIZE {_BLOCK_BYTES}"
        connection.execute(f"ATTACH '{target}' AS made ({options})")
        connection.execute(f'CREATE TABLE made."{table}" AS FROM atlas."{table}"')
        connection.execute("DETACH made")
