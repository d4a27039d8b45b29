"""Tables as DuckDB files of their own, which DuckDB-Wasm opens without an extension.

DuckDB-Wasm would fetch its reader of Parquet from another host; a native file of an old storage
version needs nothing. One file a table, so that a question costs the tables that it names alone.
Of a table that is common and would be too large, the columns that make it so stay out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas_db.connection import open_atlas
from atlas_db.records import TableRecord
from atlas_db.run_format import N_HISTOGRAM_BINS
from atlas_db.sql_schema import tables

#: What DuckDB-Wasm 1.32 reads.
STORAGE_VERSION = "v1.2.0"

#: DuckDB's smallest: with its usual one the smallest table takes half a megabyte.
_BLOCK_BYTES = 16_384
_GUESSED_ROW_BYTES = 40
#: DuckDB's, while a table is written; without, GPT-J's took 527 MB in 9 s instead of 298 in 16.
_MEMORY_LIMIT = "128MB"
#: Columns that are most of their table, and the bytes that a row of each takes: of GPT-J's units
#: histograms are 478 MB, all the rest 33.
_HEAVY: Mapping[str, Mapping[str, int]] = {"units": {"histogram": N_HISTOGRAM_BINS * 8}}


@dataclass(frozen=True, slots=True)
class BrowserTable:
    """A table's file, and the columns that it lacks."""

    name: str
    n_rows: int
    path: Path
    without: tuple[str, ...]


def write_browser_tables(
    database: Path, folder: Path, *, max_bytes: int, without: Collection[str] = ()
) -> tuple[list[BrowserTable], list[str]]:
    """Write each table of at most `max_bytes` as `folder/NAME.duckdb`, but those of `without`.

    Returns:
        The tables that were written, and the names of those that were left out, sorted.

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
        n_rows = table.n_rows or 0
        if table.table in without or n_rows * _GUESSED_ROW_BYTES > 4 * max_bytes:
            continue
        heavy = _HEAVY.get(table.table, {})
        lacks = tuple(name for name, n_bytes in heavy.items() if n_rows * n_bytes > max_bytes)
        path = folder / f"{table.table}.duckdb"
        _write(database, table, lacks, path)
        if path.stat().st_size <= max_bytes:
            written.append(BrowserTable(table.table, n_rows, path, lacks))
        else:
            path.unlink()
    names = {one.name for one in written}
    return written, sorted(table.table for table in every if table.table not in names)


def _write(database: Path, table: TableRecord, lacks: Collection[str], path: Path) -> None:
    source, target = (str(name).replace("'", "''") for name in (database, path))
    columns = ", ".join(f'"{one.name}"' for one in table.columns if one.name not in lacks)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY_LIMIT,
        "threads": 1,
        "temp_directory": f"{path}.tmp",
    }
    with duckdb.connect(config=config) as connection:
        connection.execute(f"ATTACH '{source}' AS atlas (READ_ONLY)")
        options = f"STORAGE_VERSION '{STORAGE_VERSION}', BLOCK_SIZE {_BLOCK_BYTES}"
        connection.execute(f"ATTACH '{target}' AS made ({options})")
        made = f'made."{table.table}"'
        connection.execute(f'CREATE TABLE {made} AS SELECT {columns} FROM atlas."{table.table}"')
        connection.execute("DETACH made")
