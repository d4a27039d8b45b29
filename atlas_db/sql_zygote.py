"""The process that children of `atlas_db.sql_child` are forked from.

It imports what they need, opens no atlas, starts no thread of its own (libraries start some when
they are imported, which stay idle), and knows nothing of the server: forking it takes a millisecond
and copies no secret. The server writes one byte and one
socket for each statement; the child gets the socket, and this process kills it at its deadline.
Only a parent can do that safely, because a process number stays its child's until it is waited for.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from atlas_db.sql_child import serve_one

READY = b"R"
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
    try:
        while True:
            _kill_the_late(kill_at)
            _bury(kill_at)
            wait_s = max(0.0, min(kill_at.values()) - time.monotonic()) if kill_at else None
            if not select.select([control], [], [], wait_s)[0]:
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            for descriptor in descriptors:
                started_s = time.monotonic()
                kill_at[_fork(descriptor, control, limits)] = started_s + limits["deadline_s"]
    finally:
        for process in kill_at:
            os.kill(process, signal.SIGKILL)


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


def _fork(descriptor: int, control: socket.socket, limits: dict[str, Any]) -> int:
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
            serve_one(job, limits)
    finally:
        os._exit(0)  # no clean-up of what is the parent's


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
