"""Connections that each send one request after the other, and what a server costs meanwhile.

The client is lean, because it runs on the server's machine: it reads no more of an answer than its
status and its length. Requests say that they take gzip, as browsers and Python's clients do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_START_S = 120
_PATIENCE_S = 120


@dataclass
class Taken:
    """What a load came to."""

    seconds: list[float] = field(default_factory=list)  # of each request
    failed: list[str] = field(default_factory=list)  # first lines of answers other than 200


class _Connection(asyncio.Protocol):
    """One connection, kept busy until `until_s`."""

    def __init__(self, address: Callable[[], str], until_s: float, taken: Taken) -> None:
        self._address, self._until_s, self._taken = address, until_s, taken
        self._received = bytearray()
        self._length: int | None = None  # of the whole answer; None: not known yet
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._taken.failed.append(f"connection lost: {error}")
            self.done.set_result(None)

    def _send(self) -> None:
        self._received.clear()
        self._length = None
        self._sent_s = time.perf_counter()
        head = "HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
        self._transport.write(f"GET {self._address()} {head}".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._length is None and not self._read_head():
            return
        is_chunked = self._length == -1
        whole = self._received.endswith(b"0\r\n\r\n") if is_chunked else (
            len(self._received) >= (self._length or 0)
        )  # fmt: skip
        if not whole:
            return
        now_s = time.perf_counter()
        self._taken.seconds.append(now_s - self._sent_s)
        if now_s < self._until_s:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            self._taken.failed.append(head.split(b"\r\n")[0].decode("latin-1"))
        _, found, rest = head.partition(b"\r\ncontent-length:")
        self._length = end + 4 + int(rest.split(b"\r\n")[0]) if found else -1
        return True


async def load(
    port: int, address: Callable[[], str], n_connections: int, seconds: float
) -> tuple[Taken, float]:
    """Keep connections busy; give what came of it, and how many seconds it took."""
    taken = Taken()
    started_s = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(n_connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(address, started_s + seconds, taken), "127.0.0.1", port
        )
        connections.append(connection.done)
    await asyncio.wait_for(asyncio.gather(*connections), seconds + _PATIENCE_S)
    return taken, time.perf_counter() - started_s


def measure(
    server: int, port: int, address: Callable[[], str], n_connections: int, seconds: float
) -> dict[str, float]:
    """Load a server and say how it did.

    Args:
        server: Number of its process.
        address: Gives the address of the next request.
    """
    before_s, client_s = processor_s(server), time.process_time()
    taken, elapsed_s = asyncio.run(load(port, address, n_connections, seconds))
    client_s = time.process_time() - client_s
    n_requests = len(taken.seconds)
    cuts = statistics.quantiles(taken.seconds, n=100) if n_requests > 1 else taken.seconds * 99
    return {
        "requests/s": round(n_requests / elapsed_s, 1),
        "p50 ms": round(cuts[49] * 1000, 2),
        "p99 ms": round(cuts[98] * 1000, 2),
        # What does not depend on who else uses the machine, or nearly so.
        "server CPU ms a request": round((processor_s(server) - before_s) / n_requests * 1000, 3),
        "client CPU ms a request": round(client_s / n_requests * 1000, 3),
        "requests": n_requests,
        "failed": len(taken.failed),
    }


def processor_s(process: int) -> float:
    """Give the processor time of a process and of its children that have ended (Linux)."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> float:
    """Give the memory that a process has of its own, in MB (Linux)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def server(command: list[str], port: int) -> Iterator[int]:
    """Run a server until the block ends, and give its process; waits until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{command[0]} does not start")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
