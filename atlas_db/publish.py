"""Write a file whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from atlas_db.errors import AtlasFileError


@contextmanager
def partial_file(database: Path) -> Iterator[Path]:
    """Give the name under which to write `database`; whatever is left of it goes at the end.

    What a killed ingest left there is removed first.

    Raises:
        AtlasFileError: Another process is writing it, or its folder cannot be written.
    """
    partial = database.with_name(database.name + ".partial")
    if database.is_dir():
        raise AtlasFileError(f"{database} is a folder, wanted the name of a file.")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        _refuse_if_in_use(partial)
        _remove(partial)
    except OSError as error:
        raise AtlasFileError(
            f"{database} cannot be written: {error}. Choose a place that you can write to."
        ) from error
    try:
        yield partial
    finally:
        _remove(partial)


def publish(partial: Path, database: Path) -> None:
    """Move the finished file to its place at once, replacing what is there, and see it on disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(database)
    if os.name == "posix":
        folder = os.open(database.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _refuse_if_in_use(partial: Path) -> None:
    if not partial.exists():
        return
    try:
        duckdb.connect(str(partial)).close()
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise AtlasFileError(
                f"{partial} is being written by another process. Wait until it has finished."
            ) from None
    except duckdb.Error:
        return  # half a file, as a killed ingest leaves it


def _remove(partial: Path) -> None:
    for path in (partial, partial.with_name(partial.name + ".wal")):
        path.unlink(missing_ok=True)
    shutil.rmtree(partial.with_name(partial.name + ".tmp"), ignore_errors=True)
