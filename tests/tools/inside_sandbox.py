"""Try to do harm from inside a statement's process, its rules left out; print what was possible."""

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from atlas_db.sql_child import _confine, open_for_strangers

LIMITS = {"deadline_s": 20, "memory_mb": 700, "max_bytes": 2**20}


def main(atlas: str, secret: str) -> None:
    connection = open_for_strangers(atlas, LIMITS).connection
    _confine(LIMITS)

    def sql(statement: str) -> Callable[[], Any]:
        return lambda: connection.execute(statement).fetchall()

    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    attempts: dict[str, Callable[[], Any]] = {
        "open": lambda: open(secret),  # noqa: PTH123, SIM115
        "list": lambda: os.listdir("/"),  # noqa: PTH208
        "write": lambda: os.open(secret + ".out", os.O_WRONLY | os.O_CREAT),
        "delete": lambda: os.unlink(secret),  # noqa: PTH108
        "socket": socket.socket,
        "fork": fork,
        "run": lambda: os.execv("/bin/true", ["true"]),
        "allocate": lambda: len(bytearray(2**30)),
        "read_text": sql(f"FROM read_text('{secret}')"),
        "copy": sql(f"COPY units TO '{secret}.out'"),
        "attach": sql(f"ATTACH '{secret}.out' AS other"),
        "setting": sql("SET enable_external_access = true"),
        "extension": sql("INSTALL httpfs"),
        "python": sql("FROM LIMITS"),
        "update": sql("UPDATE units SET n_images = 0"),
    }
    if os.getuid() == 65534:  # the test runs as root: the process must not
        attempts["setuid"] = lambda: os.setuid(0)
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
    rows = connection.execute("SELECT count(*) FROM units").fetchall()
    print(f"possible: {done}; the atlas has {rows[0][0]} units; user {os.getuid()}")


main(*sys.argv[1:])
