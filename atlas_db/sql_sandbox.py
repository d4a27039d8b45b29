"""SQL from strangers: each statement in a process of its own, within limits of time and memory.

    with SqlSandbox() as sandbox:
        answer = sandbox.ask(path, "SELECT * FROM units WHERE layer = $layer", {"layer": 3})
        json.loads(answer.body)["rows"]

The process is forked from a clean one and killed at its deadline, so nothing that a statement does
costs the caller more than that. What holds it is said in `atlas_db.sql_child`; which statements
are taken, in `atlas_db.sql_rules`. Needs a system that can fork (Linux, macOS).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas_db.sql_rules import SqlRefusedError, check_text
from atlas_db.sql_wire import BEGUN, LENGTH, zygote_environment

#: Of the deadline: then a process is no longer waited for; a big one takes a while to die.
_PATIENCE = 1.2
#: Of the deadline: who ends so late was killed at it; it ran a little before its socket was here.
_LATE = 0.9
_MAX_HEADER_BYTES = 2**20
_READ_BYTES = 2**16
#: To import DuckDB, on a slow disk.
_START_S = 30.0


class SqlError(Exception):
    """A statement was not answered.

    Attributes:
        code: sql_refused, sql_failed, sql_too_big, sql_too_slow or sql_busy.
        hint: What to do.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """What one statement may cost, and how many run at once.

    Attributes:
        deadline_s: From its fork to its kill.
        memory_mb: On top of the process's own size.
        max_rows: Of an answer; who asks may ask for fewer.
        max_bytes: Of an answer.
        n_at_once: Statements that run.
        n_waiting: Statements that wait for one that runs; others are refused.
        wait_s: How long they wait at most.
    """

    deadline_s: float = 1.0
    memory_mb: int = 700
    max_rows: int = 10_000
    max_bytes: int = 8 * 2**20
    n_at_once: int = 2
    n_waiting: int = 4
    wait_s: float = 2.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name in ("n_waiting", "wait_s") else 1e-3
            if not value >= least or not math.isfinite(value):
                raise ValueError(f"{name} must be a number above 0, got {value}")


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """What a statement gave."""

    body: bytes
    columns: tuple[tuple[str, str], ...]  # name and DuckDB's type
    n_rows: int
    truncated: bool  # there are more rows than the body has


class SqlSandbox:
    """Runs statements over an atlas that its caller does not trust; safe to share by threads."""

    def __init__(self, limits: SqlLimits | None = None) -> None:
        if not hasattr(os, "fork"):
            raise OSError("SQL from strangers needs a system that can fork, such as Linux")
        self.limits = limits or SqlLimits()
        self._slots = threading.BoundedSemaphore(self.limits.n_at_once)
        self._places = threading.BoundedSemaphore(self.limits.n_at_once + self.limits.n_waiting)
        self._lock = threading.Lock()
        self._zygote: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def __enter__(self) -> SqlSandbox:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def ask(
        self,
        database: Path,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        form: str = "json",
        max_rows: int | None = None,
    ) -> SqlAnswer:
        """Run one SELECT over an atlas.

        Args:
            database: The atlas's file.
            statement: DuckDB's SQL, with parameters written `$name`.
            parameters: Their values: texts, numbers, booleans and None.
            form: One of `atlas_db.sql_results.FORMATS`.
            max_rows: At most that many, and never more than the limits allow.

        Raises:
            SqlError: It is refused, wrong, too slow or too big, or all places are taken.
        """
        try:
            check_text(statement)
        except SqlRefusedError as error:
            raise SqlError("sql_refused", str(error), error.hint) from None
        request = {
            "database": str(database),
            "statement": statement,
            "parameters": dict(parameters or {}),
            "format": form,
            "max_rows": min(max_rows or self.limits.max_rows, self.limits.max_rows),
        }
        with self._place():
            return self._run(os.fsencode(database), json.dumps(request).encode("utf-8"))

    def start(self) -> None:
        """Start the process that is forked from, so that the first statement need not wait."""
        with self._lock:
            if self._zygote is None:
                self._start_zygote()

    def close(self) -> None:
        """Kill what runs and end the process that is forked from."""
        with self._lock:
            self._end_zygote()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        busy = SqlError(
            "sql_busy",
            f"{self.limits.n_at_once} statements run and {self.limits.n_waiting} wait already.",
            "Try again in a second, or download the atlas and ask your own DuckDB.",
        )
        if not self._places.acquire(blocking=False):
            raise busy
        try:
            if not self._slots.acquire(timeout=self.limits.wait_s):
                raise busy
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._places.release()

    def _run(self, database: bytes, request: bytes) -> SqlAnswer:
        for _ in range(self.limits.n_at_once + 1):  # all that wait may have ended
            with self._child(database) as ours:
                started_s = time.monotonic()  # the atlas's opening is not the statement's time
                # A child that dies early closes its end; reading then tells.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    ours.sendall(request)
                    ours.shutdown(socket.SHUT_WR)
                received = self._receive(ours, started_s + self.limits.deadline_s * _PATIENCE)
            elapsed_s = time.monotonic() - started_s
            if received or elapsed_s >= self.limits.deadline_s * _LATE:
                break  # else it had ended while it waited, through no fault of the statement
        header, body = _parse(received)
        if header is None:
            raise self._ended(elapsed_s)
        if not header["ok"]:
            raise SqlError(header["code"], header["message"], header["hint"])
        columns = tuple((column["name"], column["type"]) for column in header["columns"])
        return SqlAnswer(body, columns, header["n_rows"], header["truncated"])

    def _receive(self, ours: socket.socket, give_up_at_s: float) -> bytearray:
        """Read what the child says, which may end before it is whole."""
        received = bytearray()
        most = self.limits.max_bytes * 2 + _MAX_HEADER_BYTES
        with contextlib.suppress(OSError):
            while len(received) <= most:
                ours.settimeout(max(0.001, give_up_at_s - time.monotonic()))
                part = ours.recv(_READ_BYTES)
                if not part:
                    break
                received += part
        return received

    def _ended(self, elapsed_s: float) -> SqlError:
        if elapsed_s >= self.limits.deadline_s * _LATE:
            return SqlError(
                "sql_too_slow",
                f"The statement was stopped after {self.limits.deadline_s:g} s.",
                "Filter before you join, ask for less, or download the atlas and ask your own "
                "DuckDB.",
            )
        return SqlError(
            "sql_too_big",
            "The statement broke off: it needs more memory or depth than there is for one.",
            "Ask for fewer rows or columns, and nest less.",
        )

    def _child(self, database: bytes) -> socket.socket:
        """Get the socket to a process of its own for one statement."""
        with self._lock:
            for _ in range(2):
                _, control = self._zygote or self._start_zygote()
                try:
                    control.sendall(LENGTH.pack(len(database)) + database)
                    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
                    if descriptors:
                        return socket.socket(fileno=descriptors[0])
                except OSError:
                    pass
                self._end_zygote()  # it is gone; another is started
        raise SqlError("sql_busy", "SQL cannot be run at the moment.", "Try again in a minute.")

    def _start_zygote(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "atlas_db.sql_zygote"),
                    str(theirs.fileno()),
                    json.dumps(asdict(self.limits)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=zygote_environment(),
                cwd="/",
            )
        self._zygote = process, ours
        ours.settimeout(_START_S)
        with contextlib.suppress(OSError):
            if ours.recv(1):
                return self._zygote
        self._end_zygote()
        raise SqlError("sql_busy", "SQL cannot be run at the moment.", "Try again in a minute.")

    def _end_zygote(self) -> None:
        if self._zygote is None:
            return
        process, control = self._zygote
        self._zygote = None
        control.close()
        process.kill()  # its children die with it (Linux), or at their limit of processor time
        process.wait()


def _parse(received: bytearray) -> tuple[dict[str, Any] | None, bytes]:
    """Part an answer into its header and its body; None for the header if it is not whole."""
    start = len(BEGUN) + LENGTH.size
    try:
        (length,) = LENGTH.unpack_from(received, len(BEGUN))
        header: dict[str, Any] = json.loads(received[start : start + length])
        body = bytes(received[start + length :])
        return (header, body) if len(body) == header["n_bytes"] else (None, b"")
    except (ValueError, KeyError, struct.error):
        return None, b""
