"""A process of a pool ends with who started it."""

import os
import signal
import sys

import pytest

from tests.tools.orphans import orphans

_PROGRAM = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from atlas_db.parent_process import end_with_parent

first = end_with_parent if sys.argv[1] == "ends" else None
with ProcessPoolExecutor(1, get_context("spawn"), first) as pool:
    pool.submit(abs, 1).result()
    time.sleep(120)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def test_it_ends_when_its_parent_is_killed() -> None:
    assert orphans(_PROGRAM, "ends") == (1, [])


def test_by_itself_it_would_not() -> None:
    n_children, left = orphans(_PROGRAM, "stays", patience_s=2)
    assert (n_children, len(left)) == (1, 1)
    os.kill(left[0], signal.SIGKILL)
