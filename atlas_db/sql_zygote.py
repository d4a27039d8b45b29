"""The process that children of `atlas_db.sql_child` are forked from.

It imports what they need, opens the atlas that they are asked about, starts no thread of its own
(libraries start some when they are imported, which stay idle; DuckDB, told to use one, starts
none), and knows nothing of the server: a child copies no secret and no work half done. No statement
is ever run here.

The server writes an atlas's path for each statement and gets a socket to a child that nobody has
spoken to. As many as may run at once are forked beforehand and have given their rights away: half
of what a statement costs is over when it comes. None serves two. This process kills a child at the
deadline, counted from when its socket was given away. Only a parent can do that safely, because a
process number stays its child's until it is waited for.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas_db.sql_child import OpenAtlas, open_for_strangers, serve_one
from atlas_db.sql_rules import SqlRefusedError
from atlas_db.sql_wire import LENGTH, READY

_LOOK_AGAIN_S = 0.05
_FOREVER_S = float("inf")


def main(control_descriptor: int, limits: dict[str, Any]) -> None:
    """Give a child's socket away for each path that comes, until the server is gone.

    Args:
        control_descriptor: Of a UNIX stream socket; its end of file ends everything.
        limits: Of `atlas_db.sql_sandbox.SqlLimits`.
    """
    # Python 3.12 and later warn of any thread at a fork; here they are idle ones of libraries.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; its end is ours
    control = socket.socket(fileno=control_descriptor)
    control.sendall(READY)
    atlas = _LastAtlas(limits)
    nursery = _Nursery(control, limits)
    try:
        while True:
            nursery.kill_the_late()
            nursery.bury()
            if not select.select([control], [], [], nursery.wait_s())[0]:
                continue
            database = _path(control)
            if database is None:
                return
            opened = atlas.at(database)
            nursery.bury()  # who waited may have been killed, as the system does without memory
            with nursery.take(opened) as job:
                socket.send_fds(control, [READY], [job.fileno()])
            nursery.fill(opened)
    finally:
        nursery.kill_all()


class _Nursery:
    """Children: those that run a statement, and those that wait for one."""

    def __init__(self, control: socket.socket, limits: Mapping[str, Any]) -> None:
        self._control = control
        self._limits = limits
        self._kill_at: dict[int, float] = {}  # of those that run
        self._waiting: dict[int, socket.socket] = {}
        self._opened: OpenAtlas | None = None  # of those that wait

    def take(self, opened: OpenAtlas | None) -> socket.socket:
        """Give the socket to a child that has this atlas; its time runs from now."""
        self._let_go_of_others(opened)
        if not self._waiting:
            self._fork(opened)
        process = next(iter(self._waiting))
        self._kill_at[process] = time.monotonic() + self._limits["deadline_s"]
        return self._waiting.pop(process)

    def fill(self, opened: OpenAtlas | None) -> None:
        """Fork children that wait; not where each must say that there is no atlas."""
        while opened is not None and len(self._waiting) < self._limits["n_at_once"]:
            self._fork(opened)

    def _let_go_of_others(self, opened: OpenAtlas | None) -> None:
        """End those that wait with another atlas."""
        if opened is self._opened:
            return
        self._opened = opened
        for process, job in self._waiting.items():
            job.close()
            self._kill_at[process] = 0.0
        self._waiting.clear()
        self.kill_the_late()

    def _fork(self, opened: OpenAtlas | None) -> None:
        ours, theirs = socket.socketpair()
        process = os.fork()
        if process:
            theirs.close()
            self._waiting[process] = ours
            return
        try:
            # What others are spoken to through is not this one's.
            for other in (self._control, ours, *self._waiting.values()):
                other.close()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nowhere, standard)
            os.close(nowhere)
            with theirs:
                serve_one(theirs, self._limits, opened)
        finally:
            os._exit(0)  # no clean-up of what is the parent's

    def wait_s(self) -> float | None:
        """Say how long nobody is late; None: for ever."""
        first = min(self._kill_at.values(), default=_FOREVER_S)
        return None if first == _FOREVER_S else max(0.0, first - time.monotonic())

    def kill_the_late(self) -> None:
        """Kill whose time is up. A big one takes a while to die: look again, and wait for none."""
        now = time.monotonic()
        for process, at in self._kill_at.items():
            if at <= now:
                os.kill(process, signal.SIGKILL)
                self._kill_at[process] = now + _LOOK_AGAIN_S

    def bury(self) -> None:
        """Wait for the children that have ended by themselves."""
        while self._kill_at or self._waiting:
            process, _ = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            self._kill_at.pop(process, None)
            job = self._waiting.pop(process, None)
            if job is not None:
                job.close()

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for process in (*self._kill_at, *self._waiting):
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


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
