"""Threads for what is answered at once, and others for what takes its time.

Python runs one thread at a time. Eight that each have a twentieth of a millisecond to do spend more
on taking turns than on answers, so what is ready has two. And when all others wait for strangers'
SQL, look-ups go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from waitress.task import ThreadedTaskDispatcher

N_QUICK_THREADS = 2


class Lanes:
    """What waitress gives its requests to.

    Args:
        n_threads: For requests that are not quick.
        is_quick: Says of a request's path and query whether it is answered at once.
    """

    def __init__(self, n_threads: int, is_quick: Callable[[str, str], bool]) -> None:
        self._is_quick = is_quick
        self._quick, self._other = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._quick.set_thread_count(N_QUICK_THREADS)
        self._other.set_thread_count(n_threads)

    def add_task(self, channel: Any) -> None:
        """Have the first request of a connection answered."""
        request = channel.requests[0]
        quick = not request.error and self._is_quick(request.path, request.query)
        (self._quick if quick else self._other).add_task(channel)

    def shutdown(self, cancel_pending: bool = True, timeout: int = 5) -> bool:
        """End all threads; say whether both lanes dropped what waited."""
        ended = [lane.shutdown(cancel_pending, timeout) for lane in (self._quick, self._other)]
        return all(ended)
