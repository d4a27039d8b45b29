"""The server's own part of a connection: who sends an answer, and that all of it arrives."""

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from flask import Flask, Response
from waitress.adjustments import Adjustments
from waitress.server import create_server

from api.channel import Channel
from api.lanes import Lanes
from api.server import address_of, listen
from tests.tools.served import served

BODY = b"".join(b"%08d" % number for number in range(500_000))  # 4 MB: more than a socket takes


@pytest.fixture
def go_on() -> threading.Event:
    """What answers of `/held` wait for."""
    return threading.Event()


@pytest.fixture
def port(go_on: threading.Event) -> Iterator[int]:
    app = Flask(__name__)
    app.add_url_rule("/", "body", lambda: Response(BODY))
    app.add_url_rule("/small", "small", lambda: Response(b"small"))
    app.add_url_rule("/held", "held", lambda: Response(b"held" if go_on.wait(30) else b"late"))
    listening = socket.create_server(("127.0.0.1", 0))
    lanes = Lanes(4, lambda path, query: (path, query) == ("/small", "quick"))
    server = create_server(app, sockets=[listening], _dispatcher=lanes, max_request_body_size=2**16)
    server.channel_class = Channel
    with served(server):
        yield listening.getsockname()[1]


def ask(port: int, address: str, *, pause_s: float = 0.0) -> bytes:
    """Ask over a connection of its own, and read what comes, slowly at first."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        request = f"GET {address} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        received = b""
        while part := connection.recv(2**18):
            received += part
            if len(received) < 2**20:
                time.sleep(pause_s)
    return received.partition(b"\r\n\r\n")[2]


def test_an_answer_larger_than_a_socket_takes_arrives_whole(port: int) -> None:
    assert ask(port, "/") == BODY


def test_slow_readers_get_all_and_hold_nobody_up(port: int) -> None:
    slow: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: slow.append(ask(port, "/", pause_s=0.05))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    started_s = time.monotonic()
    for _ in range(20):
        assert ask(port, "/small") == b"small"
    assert time.monotonic() - started_s < 20
    for thread in threads:
        thread.join(30)
    assert slow == [BODY] * 8


def test_what_is_answered_at_once_waits_for_nobody(port: int, go_on: threading.Event) -> None:
    held: list[bytes] = []
    threads = [threading.Thread(target=lambda: held.append(ask(port, "/held"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert ask(port, "/small?quick") == b"small"
    assert not held
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert held == [b"held"] * 12
    assert ask(port, "/small") == b"small"


@pytest.mark.parametrize(
    ("request_line", "body", "status", "named"),
    [
        ("GET /?" + "x" * 10_000_000, b"", 431, "Shorten the address"),
        ("POST /", b"x" * 10_000_000, 413, "10 kB"),
        ("GET /\xff", b"", 400, "%xx"),
        ("nonsense", b"", 400, "Is it HTTP?"),
    ],
)
def test_who_is_refused_reads_why_though_it_has_not_done_sending(
    port: int,
    caplog: pytest.LogCaptureFixture,
    request_line: str,
    body: bytes,
    status: int,
    named: str,
) -> None:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{request_line} HTTP/1.1\r\nHost: here\r\nX-Request-ID: mine\r\n{length}\r\n"
    with (
        caplog.at_level(logging.INFO, "neuron_atlas.access"),
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(head.encode("latin-1") + body)
        received = b""
        while part := connection.recv(2**16):
            received += part
    headers, _, answer = received.partition(b"\r\n\r\n")
    assert headers.split()[1] == str(status).encode()
    assert b"Content-Type: application/json" in headers
    assert b"X-Request-Id: " in headers
    error = json.loads(answer)["error"]
    assert set(error) == {"code", "message", "hint"}
    assert named in error["hint"]
    assert json.loads(caplog.messages[-1])["status"] == status
    assert ask(port, "/small") == b"small"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_the_address_that_is_printed_leads_to_the_server(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listening:
        parts = urlsplit(address_of(listening))
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10):
            listening.accept()[0].close()


def go_on_sending(connection: socket.socket, part: bytes, *, pause_s: float = 0.0) -> None:
    for _ in range(100):
        connection.sendall(part)
        time.sleep(pause_s)


def test_who_is_refused_cannot_send_for_ever(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.channel._MAX_UNREAD_BYTES", 2**20)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        with pytest.raises(ConnectionError):
            go_on_sending(connection, b"x" * 2**20)
    monkeypatch.setattr("api.channel._MAX_LINGER_S", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        time.sleep(3.0)  # the loop looks each second
        with pytest.raises(ConnectionError):
            go_on_sending(connection, b"x", pause_s=0.1)
    assert ask(port, "/small") == b"small"


def test_hundreds_of_silent_connections_shut_nobody_out(synthetic_atlas: Path) -> None:
    command = ["serve", "--db", str(synthetic_atlas), "--port", "0", "--no-sql", "--no-prepare"]
    process = subprocess.Popen(
        [sys.executable, "-m", "neuron_atlas", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)/", process.stdout.readline())
        assert found is not None
        silent = [socket.create_connection(("127.0.0.1", int(found[1]))) for _ in range(300)]
        for one in silent:
            one.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert b'"ok"' in ask(int(found[1]), "/healthz")
        for one in silent:
            one.close()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_loop_leaves_an_answer_to_the_thread_that_sends_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(SimpleNamespace(active_channels={}), ours, ("", 0), Adjustments(), map={})
        assert not channel.writable()
        channel.total_outbufs_len = 1
        assert channel.writable()
        holds, done = threading.Event(), threading.Event()

        def send() -> None:
            with channel.outbuf_lock:
                holds.set()
                done.wait(30)

        thread = threading.Thread(target=send)
        thread.start()
        assert holds.wait(30)
        assert not channel.writable()
        channel.will_close = True
        assert channel.writable()
        channel.will_close = False
        channel.total_outbufs_len = channel.adj.outbuf_high_watermark + 1
        assert channel.writable()  # the thread waits for the loop
        done.set()
        thread.join(30)
        channel.total_outbufs_len = 1
        assert channel.writable()
