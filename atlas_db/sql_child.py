"""One statement of a stranger's, run in a process of its own that has nothing to lose.

The process was forked from a clean one (`atlas_db.sql_zygote`), which has opened the atlas,
read-only, and has shut DuckDB's doors. So what it does not need is given away in this order:

1. DuckDB's own doors: no other files, no extensions, no Python variables, settings locked;
2. its user, where the server runs as root (`nobody`), and all ways to gain rights again;
3. the file system, the network and other processes, by Landlock where Linux has it;
4. new files, sockets and processes, memory, processor time, by resource limits.

Then the statement is held against `atlas_db.sql_rules`, and run. Its parent kills it at the
deadline. Measured: DuckDB's own limits of time and memory do not hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from atlas_db.sql_results import write_result
from atlas_db.sql_rules import SqlRefusedError, check_text, check_tree
from atlas_db.sql_wire import BEGUN, LENGTH

#: `nobody` and `nogroup` of most systems; needs no entry in /etc/passwd.
_NOBODY = 65534
_MAX_MESSAGE = 1000
_SETTINGS = (
    "SET temp_directory = ''",  # before the next: without external access it is fixed
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET allow_persistent_secrets = false",
    "SET threads = 1",
    "SET lock_configuration = true",
)
_FOLDERS = sorted(
    {
        str(Path(folder).resolve()) for folder in (sys.prefix, sys.base_prefix, *sys.path) if folder
    }.union((str(Path.home()), str(Path(__file__).parent))).difference(
        ("/",)
    ),  # of which every slash would be one
    key=len,
    reverse=True,
)
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION_FLAG = 1


class _LandlockRules(ctypes.Structure):
    """What is forbidden unless a rule allows it, and no rule is ever added."""

    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class OpenAtlas:
    """An atlas under the name `atlas`, settings locked, and the tables that it has."""

    connection: duckdb.DuckDBPyConnection
    tables: list[str]


def serve_one(job: socket.socket, limits: Mapping[str, Any], opened: OpenAtlas | None) -> None:
    """Read one request from `job`, answer it, and return; never raises.

    Args:
        job: Where the request comes from and the answer goes.
        limits: See `atlas_db.sql_zygote.main`.
        opened: The request's atlas; None: it is opened here. If there is one, all rights are given
            away before the request is read.
    """
    try:
        if opened is not None:
            _confine(limits)
            _touch(opened)
        request = _read(job)
        job.sendall(BEGUN)
    except Exception:
        return  # its end tells that it has not begun
    header, body = _outcome(request, limits, opened)
    with contextlib.suppress(OSError):
        text = json.dumps({**header, "n_bytes": len(body)}).encode("utf-8")
        job.sendall(LENGTH.pack(len(text)) + text)
        job.sendall(body)


def _outcome(
    request: Mapping[str, Any], limits: Mapping[str, Any], opened: OpenAtlas | None
) -> tuple[dict[str, Any], bytes]:
    """Answer a request, or say why not; never raises."""
    try:
        return _answer(request, limits, opened)
    except SqlRefusedError as error:
        failure = _failure("sql_refused", str(error), error.hint)
    except (MemoryError, duckdb.OutOfMemoryException):
        failure = _failure(
            "sql_too_big",
            "The statement needs more memory than there is for one.",
            "Ask for fewer rows or columns, or filter before you join.",
        )
    except duckdb.Error as error:
        failure = _failure("sql_failed", _clean(error), _hint(error))
    except Exception as error:
        message = f"The statement's result cannot be written: {type(error).__name__}."
        failure = _failure("sql_failed", message, "Cast its columns to plain types.")
    return failure, b""


def _failure(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message, "hint": hint}


def _clean(error: Exception) -> str:
    """Keep what helps of DuckDB's message: which kind, what, and where in the statement.

    What it says of Python and of this machine's folders is of no help, and of no one's business.
    """
    text = str(error).replace("\n\n", "\n").strip()
    if "Python exception" in text:
        return "A column is of a type that cannot be written in this format: cast it to VARCHAR."
    for folder in _FOLDERS:
        text = text.replace(folder, "...")
    return text[:_MAX_MESSAGE]


def _hint(error: Exception) -> str:
    text = str(error)
    if "prepared statement parameters" in text or "Parameter argument" in text:
        return (
            "Give a value for each $name in the statement and for no other, such as "
            '{"layer": 12} in `parameters`.'
        )
    return "Tables and their columns are listed at /api/v1/sql/schema."


def _read(job: socket.socket) -> dict[str, Any]:
    with job.makefile("rb") as file:
        request: dict[str, Any] = json.loads(file.read())
    return request


def _touch(opened: OpenAtlas) -> None:
    """Take the pages of memory that every statement writes to, before one is waited for."""
    opened.connection.execute("SELECT json_serialize_sql('SELECT 1')").fetchall()


def _answer(
    request: Mapping[str, Any], limits: Mapping[str, Any], opened: OpenAtlas | None
) -> tuple[dict[str, Any], bytes]:
    statement = request["statement"]
    check_text(statement)
    if opened is None:
        opened = open_for_strangers(request["database"], limits)
        _confine(limits)
    connection = opened.connection
    found = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()
    assert found is not None
    try:
        check_tree(json.loads(found[0]), opened.tables)
    except RecursionError:
        raise SqlRefusedError("The statement is nested too deeply.", "Flatten it.") from None
    result = connection.execute(statement, request["parameters"] or None)
    return write_result(
        result,
        form=request["format"],
        max_rows=request["max_rows"],
        max_bytes=limits["max_bytes"],
    )


def open_for_strangers(database: str, limits: Mapping[str, Any]) -> OpenAtlas:
    """Open an atlas read-only, with DuckDB's own doors shut.

    Its name is `atlas`, so that no message holds its path. No thread is started: what has opened it
    may fork.

    Raises:
        SqlRefusedError: It cannot be read.
    """
    connection = duckdb.connect(":memory:", config={"threads": 1})
    quoted = database.replace("'", "''")
    try:
        connection.execute(f"ATTACH '{quoted}' AS atlas (READ_ONLY)")
    except duckdb.Error:
        connection.close()
        raise SqlRefusedError("The atlas cannot be read at the moment.", "Try again.") from None
    connection.execute("USE atlas")
    connection.execute(f"SET memory_limit = '{limits['memory_mb'] // 2}MB'")
    for setting in _SETTINGS:
        connection.execute(setting)
    found = connection.execute(
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_catalog = 'atlas' AND table_schema = 'main'"
    ).fetchall()
    return OpenAtlas(connection, [row[0] for row in found])


def _confine(limits: Mapping[str, Any]) -> None:
    """Give away all rights but to compute on what is open already."""
    most_bytes = _address_space_bytes() + limits["memory_mb"] * 2**20
    if os.geteuid() == 0:
        # Root of a container that dropped its capabilities may not; it has no rights to give away.
        with contextlib.suppress(PermissionError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        _landlock()
    seconds = int(limits["deadline_s"]) + 1
    for name, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, most_bytes),
        (resource.RLIMIT_NOFILE, 0),  # last: what is open stays open, nothing more opens
    ):
        with contextlib.suppress(ValueError, OSError):  # a system without this limit
            resource.setrlimit(name, (most, most))


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (imports nothing)
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux; there the limit is of little worth anyway
        return 2 * 2**30


def _landlock() -> bool:
    """Forbid every path, TCP port and signal to others; say whether the kernel can."""
    version = _LIBC.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)
    if version < 1:
        return False
    n_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    rules = _LandlockRules(
        files=(1 << n_rights) - 1,
        network=0b11 if version >= 4 else 0,
        scopes=0b11 if version >= 6 else 0,
    )
    size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor = _LIBC.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if descriptor < 0:
        return False
    done: int = _LIBC.syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0)
    os.close(descriptor)
    return done == 0
