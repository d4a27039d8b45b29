"""A waitress server in a thread of its own, closed without a race."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waitress.wasyncore import close_all

_STOP_S = 30.0


@contextmanager
def served(server: Any) -> Iterator[str]:
    """Run a server of `waitress.server.create_server`, and give its address on this machine.

    Its own thread alone may close it, and with it what browsers keep open: it is asked by its
    trigger. Any answer that a worker has just sent wakes that thread as well, which then might
    close the trigger's pipe before the asking wrote into it; hence it waits for `asked`.
    """
    asked = threading.Event()

    def close() -> None:
        asked.wait(_STOP_S)
        close_all(server._map)

    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.trigger.pull_trigger(close)
        asked.set()
        thread.join(_STOP_S)
        server.task_dispatcher.shutdown()
    assert not thread.is_alive()
