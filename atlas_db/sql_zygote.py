"""The process that children of `atlas_db.sql_child` are forked from.

It imports what they need, opens the atlas that they are asked about, starts no thread of its own
(libraries start some when they are imported, which stay idle; DuckDB, told to use one, starts
none), and knows nothing of the server: a child copies no secret. The server writes one byte, one
socket and the atlas's path for each statement; the child gets the socket, and this process kills
it at its deadline. Only a parent can do that safely, because a process number stays its child's
until it is waited for. No stranger's statement is run here.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas_db.sql_child import OpenAtlas, open_for_strangers, serve_one
from atlas_db.sql_rules import SqlRefusedError

READY = b"R"
#: Of a path, before it.
LENGTH = struct.Struct("!I")
_LOOK_AGAIN_S = 0.05


def main(control_descriptor: int, limits: dict[str, Any]) -> None:
    """Fork a child for each socket that comes, until the server is gone.

    Args:
        control_descriptor: Of a UNIX stream socket; its end of file ends everything.
        limits: `deadline_s`, `memory_mb` and `max_bytes` of each child.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; its end is ours
    control = socket.socket(fileno=control_descriptor)
    control.sendall(READY)
    kill_at: dict[int, float] = {}
    atlas = _LastAtlas(limits)
    try:
        while True:
            _kill_the_late(kill_at)
            _bury(kill_at)
            wait_s = max(0.0, min(kill_at.values()) - time.monotonic()) if kill_at else None
            if not select.select([control], [], [], wait_s)[0]:
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            database = _path(control) if message else None
            if database is None:
                return
            opened = atlas.at(database)
            for descriptor in descriptors:
                started_s = time.monotonic()
                process = _fork(descriptor, control, limits, opened)
                kill_at[process] = started_s + limits["deadline_s"]
    finally:
        for process in kill_at:
            os.kill(process, signal.SIGKILL)


def _path(control: socket.socket) -> str | None:
    """Read an atlas's path; None if the server went away meanwhile."""
    head = control.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return None
    (n_bytes,) = LENGTH.unpack(head)
    path = control.recv(n_bytes, socket.MSG_WAITALL)
    return os.fsdecode(path) if len(path) == n_bytes else None


class _LastAtlas:
    """The atlas that was asked about last, open until another stands at its place."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self._limits = limits
        self._file: tuple[Any, ...] = ()
        self._opened: OpenAtlas | None = None

    def at(self, database: str) -> OpenAtlas | None:
        """Give the atlas; None if it cannot be opened, which the child then says."""
        try:
            now = Path(database).stat()
        except OSError:
            return None
        file = (database, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
        if file != self._file:
            if self._opened is not None:
                self._opened.connection.close()
            self._opened, self._file = None, file
            with contextlib.suppress(SqlRefusedError):
                self._opened = open_for_strangers(database, self._limits)
            gc.collect()
            gc.freeze()  # a child that collects would copy the pages that it looks through
        return self._opened


def _kill_the_late(kill_at: dict[int, float]) -> None:
    """Kill whose time is up. A big one takes a while to die: look again, and wait for none."""
    now = time.monotonic()
    for process, at in kill_at.items():
        if at <= now:
            os.kill(process, signal.SIGKILL)
            kill_at[process] = now + _LOOK_AGAIN_S


def _bury(kill_at: dict[int, float]) -> None:
    """Wait for the children that have ended by themselves."""
    while kill_at:
        process, _ = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        kill_at.pop(process, None)


def _fork(
    descriptor: int, control: socket.socket, limits: dict[str, Any], opened: OpenAtlas | None
) -> int:
    process = os.fork()
    if process:
        os.close(descriptor)
        return process
    try:
        control.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        os.close(nowhere)
        with socket.socket(fileno=descriptor) as job:
            serve_one(job, limits, opened)
    finally:
        os._exit(0)  # no clean-up of what is the parent's


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
