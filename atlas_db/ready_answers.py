"""Units and concepts as ready JSON, packed, in a SQLite file beside the atlas.

DuckDB plans each statement anew, which for a unit's page costs ten times what the rows do. So a
server writes the answers out once, by itself and in the background (`api.preparing`), or its
operator does beforehand (`neuron-atlas prepare`); a look-up is then one read of one row. The file
is a copy: it may be deleted, and one of another atlas is passed over.

`python -m atlas_db.ready_answers ATLAS` writes it at the lowest priority.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from atlas_db import queries
from atlas_db.connection import Connection, open_atlas
from atlas_db.errors import AtlasError
from atlas_db.packed_json import pack, pack_open
from atlas_db.queries.of_concepts import N_CONCEPT_UNITS
from atlas_db.ready_text import Summaries, concept_texts, unit_texts

__all__ = ["N_CONCEPT_UNITS", "ReadyAnswers", "prepare", "ready_path"]

#: Raised whenever the JSON of a unit or a concept changes.
FORMAT = 7
_BLOCK = 500
#: Of DuckDB's, while it reads the atlas from end to end.
_MEMORY_MB = 500
#: Of the atlas's own size: what the answers take at most, as far as measured.
_MAX_SHARE = 2.2
#: How often a server that has no answers looks whether they are there by now.
LOOK_AGAIN_S = 2.0
#: More than SQLite maps by itself; the file is then read without being copied.
_MAPPED_BYTES = 2**40
_LOWEST_PRIORITY = 19

_TABLES = """
CREATE TABLE about (content_hash TEXT, format INTEGER);
CREATE TABLE summaries (uid INTEGER PRIMARY KEY, summary TEXT);
CREATE TABLE units (uid INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE concepts (concept TEXT PRIMARY KEY, body BLOB, n_units INTEGER);
"""

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
        AtlasError: The file cannot be written there, or another process is writing it.
    """
    path = ready_path(database)
    engine = open_atlas(database, memory_mb=_MEMORY_MB)
    try:
        with _written_alone(path) as partial, engine.connect() as connection:
            _refuse_a_full_disk(database, path.parent)
            _write(connection, partial, progress or (lambda *_: None))
            partial.replace(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise AtlasError(
            f"{path} cannot be written: {error}. Units and concepts are answered without it, more "
            "slowly; to have it, run `neuron-atlas prepare` where its folder can be written."
        ) from error
    finally:
        engine.dispose()
    return path


@contextlib.contextmanager
def _written_alone(path: Path) -> Iterator[Path]:
    """Give the name to write under, to one process at a time; what is left of it goes at the end.

    Raises:
        AtlasError: Another process has it.
    """
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # Another process may have renamed it between its opening here and its lock.
        if not _lock(descriptor) or not _is_at(partial, descriptor):
            raise AtlasError(f"{partial} is being written by another process: wait for it.")
        try:
            os.truncate(descriptor, 0)  # what a killed process left
            yield partial
        finally:
            if _is_at(partial, descriptor):
                partial.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows, where nobody serves a crowd
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))


def _refuse_a_full_disk(database: Path, folder: Path) -> None:
    wanted = int(database.stat().st_size * _MAX_SHARE)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise AtlasError(
            f"{folder} has {free / 1e9:.1f} GB free, and the answers may take {wanted / 1e9:.1f}. "
            "Make room, or serve without them: it is slower."
        )


def _write(connection: Connection, path: Path, tell: Progress) -> None:
    info = queries.atlas_info(connection)
    total = info.n_units + info.n_concepts
    target = sqlite3.connect(path)
    try:
        # The file is renamed when it is whole, or thrown away: no journal is needed.
        target.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")
        summaries = Summaries(connection, info.n_units, path.parent)
        done = 0
        for n_answers in _written(connection, target, summaries):
            done += n_answers
            tell("prepare", done, total)
        target.execute("INSERT INTO about VALUES (?, ?)", (info.content_hash, FORMAT))
        target.commit()
    finally:
        target.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _written(
    connection: Connection, target: sqlite3.Connection, summaries: Summaries
) -> Iterator[int]:
    """Write the answers a block at a time, and say how many each was."""
    rows = ((uid, f"{{{one}}}") for uid, one in enumerate(summaries))
    for block in _in_blocks(rows):
        target.executemany("INSERT INTO summaries VALUES (?, ?)", block)
    units = ((uid, pack(one)) for uid, one in unit_texts(connection, summaries))
    for block in _in_blocks(units):
        target.executemany("INSERT INTO units VALUES (?, ?)", block)
        yield len(block)
    concepts = (
        (one.concept, pack_open(one.json), one.n_units)
        for one in concept_texts(connection, summaries)
    )
    for block in _in_blocks(concepts):
        target.executemany("INSERT INTO concepts VALUES (?, ?, ?)", block)
        yield len(block)


def _in_blocks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Give rows in lists of at most `_BLOCK`."""
    while block := list(islice(rows, _BLOCK)):
        yield block


@dataclass(frozen=True, slots=True)
class ReadyConcept:
    """A concept's JSON, packed open (`atlas_db.packed_json`), and how many units it has in all."""

    packed: bytes
    n_units: int


class ReadyAnswers:
    """The answers of one atlas, from the moment when they are there; safe to share by threads."""

    def __init__(self, database: Path, content_hash: str) -> None:
        self.path = ready_path(database)
        self._content_hash = content_hash
        self._threads = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._is_open = False
        self._is_closed = False
        self._look_at_s = 0.0
        self._lock = threading.Lock()

    def are_there(self) -> bool:
        """Say whether there are answers of this atlas; looks at most every `LOOK_AGAIN_S`."""
        if self._is_open:
            return True
        with self._lock:
            now_s = time.monotonic()
            if not self._is_closed and not self._is_open and now_s >= self._look_at_s:
                self._look_at_s = now_s + LOOK_AGAIN_S
                self._is_open = self.path.is_file() and self._is_of_the_atlas()
            return self._is_open

    @property
    def is_open(self) -> bool:
        """Whether they were there when it was looked last."""
        return self._is_open

    def unit(self, uid: int) -> bytes | None:
        """Give a unit's JSON, packed with gzip; None if it is not there."""
        row = self._get("SELECT body FROM units WHERE uid = ?", uid)
        return None if row is None else row[0]

    def summaries(self, uids: Sequence[int]) -> list[dict[str, Any]] | None:
        """Give the summaries of some units, as the API writes them; None if they are not there."""
        if not self.are_there():
            return None
        connection = self._connection()
        statement = "SELECT summary FROM summaries WHERE uid = ?"
        found = [connection.execute(statement, (uid,)).fetchone() for uid in uids]
        if None in found:
            return None
        rows: list[dict[str, Any]] = json.loads(f"[{','.join(row[0] for row in found)}]")
        return rows

    def concept(self, folded: str) -> ReadyConcept | None:
        """Give a concept with its first `N_CONCEPT_UNITS` units; None if it is not there."""
        row = self._get("SELECT body, n_units FROM concepts WHERE concept = ?", folded)
        return None if row is None else ReadyConcept(*row)

    def _get(self, statement: str, key: int | str) -> tuple[Any, ...] | None:
        if not self.are_there():
            return None
        row: tuple[Any, ...] | None = self._connection().execute(statement, (key,)).fetchone()
        return row

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._is_closed, self._is_open = True, False
            while self._opened:
                self._opened.pop().close()

    def _is_of_the_atlas(self) -> bool:
        try:
            with contextlib.closing(self._connect()) as connection:
                about = connection.execute("SELECT content_hash, format FROM about").fetchall()
        except sqlite3.Error:
            return False
        return bool(about == [(self._content_hash, FORMAT)])

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
            self._threads.connection = connection
            self._opened.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        address = f"{self.path.as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(address, uri=True, check_same_thread=False)


def _stop(_signal: int, _frame: object) -> None:
    raise SystemExit(1)


def main(database: Path) -> None:
    """Write the answers at the lowest priority; what goes wrong is one line on standard error."""
    signal.signal(signal.SIGTERM, _stop)  # so that nothing half-written is left
    if hasattr(os, "nice"):
        os.nice(_LOWEST_PRIORITY)
    try:
        prepare(database)
    except AtlasError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
