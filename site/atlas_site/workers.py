"""Tasks shared out among processes, or done in this one where there are few.

This process is one of them: it does a task whenever the others have enough. They begin anew
(`spawn`), as DuckDB does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager

from atlas_db.errors import SiteError
from atlas_db.parent_process import end_with_parent
from atlas_site.fill_tasks import Filled, Kind, Task, Work, Workplace
from atlas_site.memory import without_pandas

#: Units from which on more than one process is worth its start.
MANY_UNITS = 20_000
#: Tasks that wait in a process or for one, so that none is without.
_TASKS_AHEAD = 2

#: Called with the kind of a task and how many steps more of it are done.
Tell = Callable[[Kind, int], None]
#: Does tasks, and gives what is left of each as it is done.
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
    """Open what does tasks; its processes are started once and end with the block.

    Args:
        work: What they need.
        processes: How many there are, with this one.
        tell: Told of the steps that are done.

    Raises:
        SiteError: The system ended a process.
    """
    workplace = Workplace(work)

    def do(task: Task) -> Filled:
        return workplace.do(task, lambda n: tell(task.kind, n))

    try:
        if processes == 1:
            yield lambda tasks: map(do, tasks)
            return
        context = multiprocessing.get_context("spawn")
        n_ahead = _TASKS_AHEAD * (processes - 1)
        with ProcessPoolExecutor(processes - 1, context, _start, (work,)) as pool:
            yield lambda tasks: _share_out(tasks, pool, n_ahead, do, tell)
    except BrokenProcessPool as error:
        raise SiteError(
            "the system ended a process that fills pages, as it does where memory runs out. Build "
            "again with more memory, or in one process: `neuron-atlas site --processes 1`, or "
            "`processes: 1` under `atlas` in mkdocs.yml. What is written already is kept."
        ) from error
    finally:
        workplace.close()


def _share_out(
    tasks: Sequence[Task],
    pool: ProcessPoolExecutor,
    n_ahead: int,
    do: Callable[[Task], Filled],
    tell: Tell,
) -> Iterator[Filled]:
    """Give the pool so many tasks ahead, and do those here for which it has no time."""
    waiting = deque(tasks)
    theirs: deque[Future[Filled]] = deque()
    while waiting or theirs:
        while waiting and len(theirs) < n_ahead:
            theirs.append(pool.submit(_do, waiting.popleft()))
        if waiting and not theirs[0].done():
            yield do(waiting.popleft())
        else:
            filled = theirs.popleft().result()
            tell(filled.task.kind, filled.task.n)
            yield filled


class _Process:
    """What a process of the pool has, until its end."""

    workplace: Workplace
    until_its_end = ExitStack()


def _start(work: Work) -> None:
    end_with_parent()
    _Process.until_its_end.enter_context(without_pandas())
    _Process.workplace = Workplace(work)


def _do(task: Task) -> Filled:
    return _Process.workplace.do(task)
