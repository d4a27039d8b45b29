"""An atlas as files for other tools: Parquet, CSV or NDJSON, one a table, with a data-set card.

Parquet keeps all types. CSV and NDJSON have no bytes, so a heatmap's are base64 there; CSV has no
lists either: a list is JSON in its cell. NULL is an empty cell in CSV, an empty text is `""`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from atlas_db.connection import Connection, open_atlas
from atlas_db.errors import AtlasError, NotInAtlasError
from atlas_db.export_card import FileRecord, card
from atlas_db.queries import atlas_info
from atlas_db.records import TableRecord
from atlas_db.sql_schema import tables

FORMATS = ("parquet", "csv", "ndjson")
_OPTIONS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER true",
    "ndjson": "FORMAT json",
}
_READ_BYTES = 2**20

Progress = Callable[[str, int, int], None]


def export(
    database: Path,
    folder: Path,
    *,
    form: str,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[FileRecord, ...]:
    """Write an atlas's tables into a new folder, with a card that says what they are.

    The folder is made under the name `FOLDER.partial` and renamed once it is whole.

    Args:
        database: The atlas.
        folder: Must not exist yet, or be empty.
        form: One of `FORMATS`.
        only: Names of the tables to write; by default all (views are left out).
        progress: Called with ("export", tables done, tables in all).

    Returns:
        The files of the tables.

    Raises:
        AtlasFileError: The atlas cannot be read.
        NotInAtlasError: It has no table of a name in `only`; says which it has.
        AtlasError: The folder is not empty, or the disk is full.
        ValueError: An unknown format.
    """
    if form not in FORMATS:
        raise ValueError(f"form must be one of {', '.join(FORMATS)}, got {form!r}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AtlasError(f"{folder} is there already: give the name of a new folder.")
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            chosen = _chosen(connection, only)
            files = _into(folder, connection, form, chosen, progress)
    finally:
        engine.dispose()
    return tuple(files)


def _chosen(connection: Connection, only: Sequence[str]) -> list[TableRecord]:
    every = [table for table in tables(connection) if table.n_rows is not None]
    names = [table.table for table in every]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise NotInAtlasError(
            f"There is no table {unknown[0]!r} in this atlas. It has: {', '.join(names)}."
        )
    return [table for table in every if not only or table.table in only]


def _into(
    folder: Path,
    connection: Connection,
    form: str,
    chosen: Sequence[TableRecord],
    progress: Progress | None,
) -> list[FileRecord]:
    """Write everything beside `folder` and rename it; leave nothing half."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        files = _write_tables(connection, partial, form, chosen, progress)
        text = card(atlas_info(connection), form, files)
        (partial / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except (OSError, duckdb.IOException) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise AtlasError(f"{folder} cannot be written: {str(error).splitlines()[0]}") from error
    return files


def _write_tables(
    connection: Connection,
    folder: Path,
    form: str,
    chosen: Sequence[TableRecord],
    progress: Progress | None,
) -> list[FileRecord]:
    raw: Any = connection.connection.dbapi_connection
    tell = progress or (lambda *_: None)
    files = []
    for done, table in enumerate(chosen):
        tell("export", done, len(chosen))
        path = folder / f"{table.table}.{form}"
        _write(raw, table, path, form)
        files.append(FileRecord(table, path.name, path.stat().st_size, _sha256(path)))
    tell("export", len(chosen), len(chosen))
    return files


def _write(connection: Any, table: TableRecord, path: Path, form: str) -> None:
    columns = ", ".join(_column(column.name, column.type, form) for column in table.columns)
    target = str(path).replace("'", "''")
    connection.execute(
        f"COPY (SELECT {columns} FROM \"{table.table}\") TO '{target}' ({_OPTIONS[form]})"
    )


def _column(name: str, kind: str, form: str) -> str:
    quoted = f'"{name}"'
    if form != "parquet" and kind == "BLOB":
        return f"base64({quoted}) AS {quoted}"
    if form == "csv" and kind.endswith("[]"):
        return f"to_json({quoted})::VARCHAR AS {quoted}"
    return quoted


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
    return digest.hexdigest()
