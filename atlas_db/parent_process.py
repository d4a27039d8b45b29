"""Let no process of a pool outlive who started it.

A process of `concurrent.futures` whose parent was killed waits for its next task forever, with
all that it holds in memory.
"""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    # At once: there is nobody to hand anything to.
    os._exit(1)
