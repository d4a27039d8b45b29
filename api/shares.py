"""A share of what is scarce for each client, so that one alone cannot keep all others from it."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator


class Shares:
    """Counts what each client has at the moment; safe to share between threads.

    Args:
        most: That one client may have.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def one(self, client: str) -> Iterator[bool]:
        """Take one for a client while the block runs; False if it has its share already."""
        with self._lock:
            has_room = self._taken[client] < self.most
            self._taken[client] += has_room
        try:
            yield has_room
        finally:
            with self._lock:
                self._taken[client] -= has_room
                if not self._taken[client]:
                    del self._taken[client]
