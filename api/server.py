"""The web server: waitress over one socket."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress.server import create_server

from api import answers, quick_answers, sql
from api.app import MAX_BODY_BYTES
from api.channel import Channel
from api.lanes import Lanes
from api.preparing import Preparing
from atlas_db.errors import AtlasError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_THREADS = 8
#: Connections at once, as far as the system lets one process have files; more of them wait.
MAX_CONNECTIONS = 1000
#: Files that are no connections: the atlas, its answers and the site, by every thread.
_OTHER_FILES = 200
#: A connection on which nobody says anything is closed after this, looked at so often.
IDLE_S = 30
_LOOK_EVERY_S = 10

_PROXY = {
    "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"},
    "clear_untrusted_proxy_headers": True,
}


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
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
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
        connection_limit=_max_connections(),
        channel_timeout=IDLE_S,
        cleanup_interval=_LOOK_EVERY_S,
        asyncore_use_poll=True,  # select takes no file above 1,023
        **({} if proxy is None else {"trusted_proxy": proxy, **_PROXY}),
    )
    server.channel_class = Channel
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


def _max_connections() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return MAX_CONNECTIONS
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, n_files - _OTHER_FILES))


def _stop(_signal: int, _frame: object) -> None:
    raise SystemExit(0)
