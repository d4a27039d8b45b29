"""Tasks shared out among processes, or done in this one where there are few.

DuckDB does not survive a fork, so processes come from one that has imported what they need and has
opened nothing: what is imported lies in memory once for all of them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext

from atlas_site.fill_tasks import Filled, Kind, Task, Work, Workplace

#: Units from which on more than one process is worth its start.
MANY_UNITS = 20_000

#: What processes have imported before they begin, and what those modules import late: SQLAlchemy
#: DuckDB when it connects, pyarrow pandas where there is one.
_PRELOADED = (Workplace.__module__, "duckdb_sqlalchemy", "pandas")

#: Called with the kind of a task and how many steps more of it are done.
Tell = Callable[[Kind, int], None]
#: Does tasks, and gives what is left of each in their order.
Do = Callable[[Sequence[Task]], Iterator[Filled]]


def n_processes(asked: int | None, n_units: int) -> int:
    """Choose how many processes work: one for a small site, one for each core otherwise.

    Raises:
        ValueError: Fewer than one is asked for.
    """
    if asked is None:
        return 1 if n_units < MANY_UNITS else os.cpu_count() or 1
    if asked < 1:
        raise ValueError(f"processes must be >= 1, got {asked}")
    return asked


@contextmanager
def workers(work: Work, processes: int, tell: Tell) -> Iterator[Do]:
    """Open what does tasks; its processes are started once and end with the block."""
    if processes == 1:
        workplace = Workplace(work)
        try:
            yield lambda tasks: (
                workplace.do(task, lambda n, kind=task.kind: tell(kind, n)) for task in tasks
            )
        finally:
            workplace.close()
        return
    with ProcessPoolExecutor(processes, _context(), _start, (work,)) as pool:

        def do(tasks: Sequence[Task]) -> Iterator[Filled]:
            for filled in pool.map(_do, tasks):
                tell(filled.task.kind, filled.task.n)
                yield filled

        yield do


def _context() -> BaseContext:
    """Choose how processes begin: forked from a server of their own, or else spawned."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


class _Process:
    """The workplace of a worker process."""

    workplace: Workplace


def _start(work: Work) -> None:
    _Process.workplace = Workplace(work)


def _do(task: Task) -> Filled:
    return _Process.workplace.do(task)
