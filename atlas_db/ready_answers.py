"""Units and concepts as ready JSON, packed, in a SQLite file beside the atlas.

DuckDB plans each statement anew, which for a unit's page costs ten times what the rows do. Who
serves many strangers writes the answers out once (`neuron-atlas prepare`); a look-up is then one
read of one row. The file is a copy: it may be deleted, and one of another atlas is passed over.
"""

from __future__ import annotations

import gzip
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas_db import queries
from atlas_db.as_json import dumps
from atlas_db.connection import Connection, open_atlas
from atlas_db.queries.of_concepts import N_CONCEPT_UNITS

__all__ = ["N_CONCEPT_UNITS", "ReadyAnswers", "concept_key", "prepare", "ready_path", "unit_key"]

#: Raised whenever the JSON of a unit or a concept changes.
FORMAT = 1
_LEVEL = 5  # of gzip
_BLOCK = 500

Progress = Callable[[str, int, int], None]


def ready_path(database: Path) -> Path:
    """Say where the answers of an atlas are: beside the file itself, not beside a symlink."""
    real = database.resolve()
    return real.with_name(real.name + ".answers")


def prepare(database: Path, *, progress: Progress | None = None) -> Path:
    """Write the answers of an atlas; the file appears once it is whole.

    Args:
        database: The atlas.
        progress: Called with ("prepare", answers done, answers in all).

    Returns:
        The file's path.

    Raises:
        AtlasFileError: The atlas cannot be read.
    """
    path = ready_path(database)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            _write(connection, partial, progress or (lambda *_: None))
        partial.replace(path)
    finally:
        engine.dispose()
        partial.unlink(missing_ok=True)
    return path


def _write(connection: Connection, path: Path, tell: Progress) -> None:
    info = queries.atlas_info(connection)
    total = info.n_units + info.n_concepts
    target = sqlite3.connect(path)
    try:
        target.execute("CREATE TABLE about (content_hash TEXT, format INTEGER)")
        target.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, body BLOB, n_units INTEGER)")
        for done, row in enumerate(_answers(connection, info.n_units)):
            target.execute("INSERT INTO answers VALUES (?, ?, ?)", row)
            if done % _BLOCK == 0:
                tell("prepare", done, total)
        target.execute("INSERT INTO about VALUES (?, ?)", (info.content_hash, FORMAT))
        target.commit()
        tell("prepare", total, total)
    finally:
        target.close()


def _answers(connection: Connection, n_units: int) -> Iterator[tuple[str, bytes, int]]:
    for unit in queries.unit_records(connection, 0, n_units):
        yield unit_key(unit.summary.layer, unit.summary.unit), _packed(dumps(unit)), 1
    for concept in queries.concept_records(connection):
        summary = concept.summary
        yield concept_key(summary.concept), _packed(dumps(concept)), summary.n_units


def _packed(text: str) -> bytes:
    return gzip.compress(f"{text}\n".encode(), _LEVEL, mtime=0)


def unit_key(layer: int, unit: int) -> str:
    """Name a unit's answer."""
    return f"unit/{layer}/{unit}"


def concept_key(folded: str) -> str:
    """Name the answer of a concept: its first `N_CONCEPT_UNITS` units, matched exactly."""
    return f"concept/{folded}"


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """An answer's JSON, packed with gzip, and how many units there are of what it lists."""

    packed: bytes
    n_units: int


class ReadyAnswers:
    """The answers of one atlas, if there are any; safe to share between threads."""

    def __init__(self, database: Path, content_hash: str) -> None:
        self._path = ready_path(database)
        self._threads = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self.are_there = self._path.is_file() and self._is_of(content_hash)
        if not self.are_there:
            self.close()

    def get(self, key: str) -> ReadyAnswer | None:
        """Give an answer; None if it is not there."""
        if not self.are_there:
            return None
        statement = "SELECT body, n_units FROM answers WHERE key = ?"
        row = self._connection().execute(statement, (key,)).fetchone()
        return None if row is None else ReadyAnswer(*row)

    def close(self) -> None:
        """Let go of the file."""
        self.are_there = False
        while self._opened:
            self._opened.pop().close()

    def _is_of(self, content_hash: str) -> bool:
        try:
            about = self._connection().execute("SELECT content_hash, format FROM about").fetchall()
        except sqlite3.Error:
            return False
        return bool(about == [(content_hash, FORMAT)])

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            address = f"{self._path.as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            self._threads.connection = connection
            self._opened.append(connection)
        return connection
