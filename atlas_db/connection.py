"""Open an atlas for reading."""

from __future__ import annotations

from pathlib import Path

import duckdb
from duckdb_sqlalchemy import ConnectionWrapper
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from atlas_db.errors import AtlasFileError
from atlas_db.schema import SCHEMA_VERSION

__all__ = [
    "Connection",
    "Engine",
    "bound_memory",
    "close_bounded",
    "is_out_of_memory",
    "open_atlas",
]

_AGAIN = "Make it again with `neuron-atlas ingest RUN --db {path}`."


def open_atlas(path: Path, *, threads: int | None = None, memory_mb: int | None = None) -> Engine:
    """Open an atlas read-only, as an engine for `with open_atlas(path).connect() as connection`.

    Any number of processes may read one file. Dispose of the engine to let go of the file.

    Args:
        path: The file.
        threads: That one statement may use; by default one a core. A server whose requests have
            a thread each asks for 1: sharing a look-up among threads doubles what it costs.
        memory_mb: That DuckDB may take, with what it keeps of the file; by default most of the
            machine's. Who reads everything once needs little of it.

    Raises:
        AtlasFileError: The file is missing, is no atlas, or is of another schema version.
    """
    path = Path(path)
    if not path.is_file():
        raise AtlasFileError(
            f"{path} is not there. Make it with `neuron-atlas build` or `neuron-atlas ingest`."
        )
    engine = create_engine(
        URL.create("duckdb", database=str(path)),
        pool_size=0,  # any number: a server's threads bound them, and none must wait for one
        isolation_level="AUTOCOMMIT",  # nothing is written; a wrong statement must not linger
        # DuckDB refuses who opens a file in one process with other settings, even another name of
        # the client: none but read_only, so that a notebook can ask DuckDB itself beside an Atlas.
        creator=lambda: ConnectionWrapper(duckdb.connect(str(path), read_only=True)),
    )

    try:
        _tune(engine, path, threads=threads, memory_mb=memory_mb)
        _check_version(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def is_out_of_memory(error: DBAPIError) -> bool:
    """Say whether a statement failed because DuckDB may not take more memory."""
    return isinstance(error.orig, duckdb.OutOfMemoryException)


def bound_memory(connection: Connection, memory_mb: int) -> None:
    """Bound what DuckDB may take, unless others that have the file open here hold more already."""
    try:
        connection.execute(text(f"SET memory_limit = '{memory_mb:d}MB'"))
    except DBAPIError as error:
        if not is_out_of_memory(error):
            raise


def close_bounded(engine: Engine) -> None:
    """Dispose of an engine that was opened with `memory_mb`, and leave others without that bound.

    Whoever has the file open in the same process shares one DuckDB, and its settings.
    """
    with engine.connect() as connection:
        connection.execute(text("RESET memory_limit"))
    engine.dispose()


def _tune(engine: Engine, path: Path, *, threads: int | None, memory_mb: int | None) -> None:
    """Set what holds for all connections of an engine, before there is a second one.

    These settings are the database's own: one that is set while another connection plans a
    statement brings the process down (a segmentation fault in `Optimizer::OptimizerDisabled`).
    """
    # Each halves the time of a unit's page; scans lose nothing that the queries here notice.
    settings = [
        "disabled_optimizers = 'late_materialization,compressed_materialization'",
        "python_enable_replacements = false",  # a name that is no table is no variable of ours
    ]
    if threads is not None:
        settings.append(f"threads = {threads:d}")
    try:
        with engine.connect() as connection:
            for setting in settings:
                connection.execute(text(f"SET {setting}"))
            if memory_mb is not None:
                bound_memory(connection, memory_mb)
    except DBAPIError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: DBAPIError) -> AtlasFileError:
    reason = str(error.orig).splitlines()[0]
    return AtlasFileError(
        f"{path} cannot be read as an atlas: {reason}. {_AGAIN.format(path=path)}"
    )


def _check_version(engine: Engine, path: Path) -> None:
    try:
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT value FROM atlas WHERE key = 'schema_version'")
            ).scalar()
    except DBAPIError as error:
        raise _unreadable(path, error) from None
    if found != str(SCHEMA_VERSION):
        raise AtlasFileError(
            f"{path} is of schema version {found}, this program reads version {SCHEMA_VERSION}. "
            f"{_AGAIN.format(path=path)}"
        )
