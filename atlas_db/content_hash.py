"""The content hash: one name for what an atlas says, however and wherever it was made.

It covers every row of every table but `atlas`, and of that table captioner, data set, settings
and model; neither dates, commands and paths nor the run folder's shards and row groups. Each
column is hashed by itself (values, lengths of texts and lists, nulls), in the order of the rows,
which ingest makes the same for the same content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas_db.connection import open_atlas
from atlas_db.errors import AtlasFileError
from atlas_db.schema import LATER_TABLES, SCHEMA_VERSION, Base

#: Keys of the table `atlas` that the hash covers.
HASHED_KEYS = ("captioner", "dataset", "settings", "model")

#: Settings that say how the work was cut up, and nothing of what it found.
_LAYOUT_SETTINGS = ("images_per_shard",)

_BATCH_ROWS = 2**14


def canonical_json(value: Any) -> str:
    """Write a value as JSON in one way only: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def content_hash(connection: duckdb.DuckDBPyConnection) -> str:
    """Hash an open atlas; hexadecimal, 64 digits. Reads the whole file."""
    values = _values(connection)
    whole = hashlib.sha256(f"neuron-atlas {SCHEMA_VERSION}\n".encode())
    for key in HASHED_KEYS:
        value = json.loads(values[key])
        if key == "settings":
            value = {k: v for k, v in value.items() if k not in _LAYOUT_SETTINGS}
        whole.update(f"{key}={canonical_json(value)}\n".encode())
    for table in sorted(set(Base.metadata.tables) - {"atlas"} - _without_rows(connection)):
        columns = [column.name for column in Base.metadata.tables[table].columns]
        reader = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").to_arrow_reader(
            _BATCH_ROWS
        )
        for name, digest in zip(columns, _column_digests(reader, len(columns)), strict=True):
            whole.update(f"{table}.{name}={digest}\n".encode())
    return whole.hexdigest()


def _without_rows(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Give the later tables that an atlas lacks or has empty: they change no hash."""
    return {table for table in LATER_TABLES if not has_rows(connection, table)}


def has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Say whether an open atlas has a table with a row in it."""
    known = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND NOT internal"
    if connection.execute(known, [table]).fetchone() is None:
        return False
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def verify(database: Path) -> str:
    """Hash an atlas anew and compare with the hash that is written in it; returns it.

    Raises:
        AtlasFileError: The file cannot be read, or does not say what it said when it was made.
    """
    advice = "Make it again with `neuron-atlas ingest`, or fetch it again."
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            own: Any = connection.connection.driver_connection
            wanted = str(_values(own).get("content_hash"))
            found = content_hash(own)
    except (duckdb.Error, KeyError) as error:
        raise AtlasFileError(f"{database} cannot be read whole: {error}. {advice}") from error
    finally:
        engine.dispose()
    if wanted != found:
        raise AtlasFileError(
            f"{database} was changed after it was made: its content hash is {found[:12]}..., "
            f"wanted {wanted[:12]}.... {advice}"
        )
    return found


def _values(connection: duckdb.DuckDBPyConnection) -> Mapping[str, str]:
    return dict(connection.execute("SELECT key, value FROM atlas").fetchall())


def _column_digests(batches: Iterable[pa.RecordBatch], n_columns: int) -> list[str]:
    hashers: list[dict[str, Any]] = [{} for _ in range(n_columns)]
    for batch in batches:
        for column, parts in zip(batch.columns, hashers, strict=True):
            _feed(column, "", parts)
    return [
        hashlib.sha256(
            "".join(f"{part}:{parts[part].hexdigest()};" for part in sorted(parts)).encode()
        ).hexdigest()
        for parts in hashers
    ]


def _feed(array: pa.Array, path: str, parts: dict[str, Any]) -> None:
    """Feed a column's values to one hash, its lengths and its nulls to others."""

    def hasher(part: str) -> Any:
        return parts.setdefault(part, hashlib.sha256())

    kind = array.type
    if array.null_count:
        hasher(path + "null").update(np.asarray(pc.is_null(array)).tobytes())
        array = pc.fill_null(array, pa.scalar(0, kind) if _is_number(kind) else pa.scalar("", kind))
    else:
        hasher(path + "null").update(bytes(len(array)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
        hasher(path + "length").update(lengths.astype("<i8").tobytes())
        _feed(array.flatten(), path + "item.", parts)
    elif _is_number(kind):
        values = array.to_numpy(zero_copy_only=False)
        if pa.types.is_floating(kind):
            values = values + 0  # DuckDB's compression makes -0.0 into 0.0
        hasher(path + "value").update(np.ascontiguousarray(values).tobytes())
    else:
        lengths = pc.binary_length(array.cast(pa.large_binary())).to_numpy(zero_copy_only=False)
        hasher(path + "length").update(lengths.astype("<i8").tobytes())
        hasher(path + "value").update(_bytes_of(array.cast(pa.large_binary())))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _bytes_of(array: pa.Array) -> memoryview | bytes:
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]
