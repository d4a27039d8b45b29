"""Whether the processes that a program has started end when it is killed."""

import subprocess
import sys
import threading
import time
from pathlib import Path

_TELL = """
import multiprocessing, threading, time

def tell():
    # A pool starts its processes one by one.
    while len(children := multiprocessing.active_children()) < N_CHILDREN:
        time.sleep(0.05)
    time.sleep(1.5)
    print(*[child.pid for child in children], flush=True)

threading.Thread(target=tell, daemon=True).start()
"""


def orphans(
    program: str, *arguments: str, n_children: int = 1, patience_s: float = 15.0
) -> tuple[int, list[int]]:
    """Kill a program once it has had children for a while.

    Args:
        program: Python; has to run until it is killed.
        n_children: How many children are waited for.

    Returns:
        How many children it had, and which of them are there after `patience_s`.
    """
    tell = _TELL.replace("N_CHILDREN", str(n_children))
    command = [sys.executable, "-c", tell + program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        given_up = threading.Timer(60, running.kill)
        given_up.start()
        assert running.stdout is not None
        children = [int(pid) for pid in running.stdout.readline().split()]
        given_up.cancel()
        running.kill()
    last = time.monotonic() + patience_s
    left = children
    while left and time.monotonic() < last:
        time.sleep(0.1)
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
    return len(children), left
