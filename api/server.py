"""The web server: waitress over one socket, with its own errors in the API's shape.

Waitress answers by itself what never reaches the application (headers of megabytes, a request that
is no HTTP); those answers are made JSON here, so that clients see one shape.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from api import answers, quick_answers, sql
from api.app import MAX_BODY_BYTES
from api.lanes import Lanes
from api.preparing import Preparing
from atlas_db.as_json import dumps
from atlas_db.errors import AtlasError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_THREADS = 8


_PROXY = {
    "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"},
    "clear_untrusted_proxy_headers": True,
}


class _JsonErrorTask(ErrorTask):
    def execute(self) -> None:
        error = self.request.error
        body = {
            "error": {
                "code": error.reason.lower().replace(" ", "_"),
                "message": f"{error.reason}: {error.body}",
                "hint": "See /api/docs.",
            }
        }
        text = (dumps(body) + "\n").encode("utf-8")
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(text)
        self.write(text)


class _Channel(HTTPChannel):
    """A connection that leaves an answer to the thread that is sending it.

    Waitress's main loop asks of every connection with bytes to send whether its socket takes them.
    While a thread sends them itself that is always so, and nothing for the loop to do; it asks
    again at once, and Python lets the thread go on only after 5 ms. Measured with 64 connections:
    3 ms of processor time a request instead of 0.6.
    """

    error_task_class = _JsonErrorTask

    def writable(self) -> bool:
        """Say whether the main loop has something to send."""
        n_bytes = self.total_outbufs_len
        is_ending = self.will_close or self.close_when_flushed
        if not is_ending and 0 < n_bytes <= self.adj.outbuf_high_watermark:
            if not self.outbuf_lock.acquire(blocking=False):
                return False
            self.outbuf_lock.release()
        return bool(n_bytes or is_ending)

    def write_soon(self, data: Any) -> int:
        """Send what the socket takes now, and leave the rest to the main loop."""
        n_bytes: int = super().write_soon(data)
        if self.total_outbufs_len:
            self.server.pull_trigger()  # waitress's own came while this thread had the lock
        return n_bytes


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 is any that is free.

    Raises:
        AtlasError: The port is taken or may not be used, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise AtlasError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken, perhaps by another `neuron-atlas serve`. "
            f"Stop that one, or choose another port with --port {port + 1}."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that you do not have: choose one above 1023 with --port."
    return f"{host}:{port} cannot be listened on: {error.strerror or error}. Try --host 127.0.0.1."


def address_of(listening: socket.socket) -> str:
    """Give the address that a browser on this machine opens."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(
    app: Flask,
    listening: socket.socket,
    *,
    n_threads: int = DEFAULT_THREADS,
    proxy: str | None = None,
    prepares: bool = False,
    when_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in progress are answered first.

    Args:
        app: Of `api.app.create_app`.
        listening: Of `listen`.
        n_threads: Requests that are worked on at once, beside those that are answered at once.
        proxy: Address of a proxy that says in X-Forwarded-For who the client is.
        prepares: Write the answers for units and concepts beside the atlas, in the background.
        when_ready: Called once connections are taken.
    """
    sql.start(app)
    server: Any = create_server(
        app,
        sockets=[listening],
        _dispatcher=Lanes(n_threads, quick_answers.of(app).are_probable),
        ident="neuron-atlas",
        max_request_body_size=MAX_BODY_BYTES,
        **({} if proxy is None else {"trusted_proxy": proxy, **_PROXY}),
    )
    server.channel_class = _Channel
    # It warns of every request that waits, and one page of pictures makes dozens wait.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _stop)
    preparing = Preparing(answers.source(app))
    try:
        when_ready()
        if prepares:
            preparing.start()
        server.run()
    finally:
        preparing.close()
        server.close()
        sql.close(app)


def _stop(_signal: int, _frame: object) -> None:
    raise SystemExit(0)
