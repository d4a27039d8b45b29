"""The pages of all units, in one process or in many.

A range of units is filled from a few queries a thousand and written at once; nothing of it is kept
but what `FilledUnits` says. Worker processes are spawned, since DuckDB does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from atlas_db import queries
from atlas_db.connection import Connection, open_atlas
from atlas_db.records import UnitRecord
from atlas_site.context import GROUPED, OWN_PAGE, Site
from atlas_site.first_exemplars import FirstExemplars
from atlas_site.group_page import group_page
from atlas_site.measured import N_TEXTS
from atlas_site.publish import Writer
from atlas_site.shell import FilledPage, Shell
from atlas_site.unit_page import unit_page

#: Units that one task fills, and from how many on more than one process is worth its start.
TASK_UNITS = 2000
MANY_UNITS = 20_000

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class UnitWork:
    """What a process needs to fill pages of units."""

    database: Path
    out: Path
    exemplars: Path  # a file that `FirstExemplars` made
    site: Site
    shell: Shell


@dataclass(frozen=True, slots=True)
class FilledUnits:
    """What is left of a range that was filled: how long it was and who wrote it."""

    n_units: int
    writer: Writer


def fill_units(
    work: UnitWork,
    ranges: Sequence[Range],
    *,
    processes: int | None = None,
    tell: Callable[[int], None] = lambda n_units: None,
) -> Iterator[FilledUnits]:
    """Fill and write the pages of units, range by range.

    Args:
        ranges: (first, stop) uids.
        processes: None chooses: one for a small atlas, one for each core otherwise.
        tell: Called with how many units more are done.
    """
    # Units that share a page fall to one task: ranges begin where layers do.
    step = TASK_UNITS // max(work.site.group, 1) * max(work.site.group, 1) or work.site.group
    tasks = [
        (start, min(start + step, stop))
        for first, stop in ranges
        for start in range(first, stop, step)
    ]
    n_units = sum(stop - first for first, stop in ranges)
    if processes is None:
        processes = 1 if n_units < MANY_UNITS else os.cpu_count() or 1
    if processes < 1:
        raise ValueError(f"processes must be >= 1, got {processes}")
    if processes == 1:
        yield from _in_this_process(work, tasks, tell)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (work,)) as pool:
        for filled in pool.map(_fill_in_worker, tasks):
            tell(filled.n_units)
            yield filled


def _in_this_process(
    work: UnitWork, tasks: Sequence[Range], tell: Callable[[int], None]
) -> Iterator[FilledUnits]:
    engine = open_atlas(work.database)
    try:
        with engine.connect() as connection:
            exemplars = _open_exemplars(work)
            for task in tasks:
                yield _fill(connection, work, exemplars, task, tell)
    finally:
        engine.dispose()


def _open_exemplars(work: UnitWork) -> FirstExemplars:
    info = work.site.info
    return FirstExemplars(work.exemplars, info.n_units, info.n_patch, "r+")


def _fill(
    connection: Connection,
    work: UnitWork,
    exemplars: FirstExemplars,
    task: Range,
    tell: Callable[[int], None],
) -> FilledUnits:
    first, stop = task
    writer = Writer(work.out)
    for page in _pages(connection, work.site, task, exemplars, tell):
        writer.write(page.address, work.shell.render(page))
    return FilledUnits(stop - first, writer)


def _pages(
    connection: Connection,
    site: Site,
    task: Range,
    exemplars: FirstExemplars,
    tell: Callable[[int], None],
) -> Iterator[FilledPage]:
    """Make the pages of a range of units, those of their own and those that units share."""
    shared: list[UnitRecord] = []
    figures = queries.measured_units(connection, *task)
    texts = queries.measured_texts(connection, *task, limit=N_TEXTS)
    for record in queries.unit_records(connection, *task):
        unit = record.summary
        exemplars.keep(unit.uid, record.exemplars)
        if shared and unit.unit // site.group != shared[0].summary.unit // site.group:
            yield group_page(site, shared)
            shared = []
        kind = site.kinds[unit.uid]
        if kind == OWN_PAGE:
            yield unit_page(site, record, figures.get(unit.uid), texts.get(unit.uid, ()))
        elif kind == GROUPED:
            shared.append(record)
        tell(1)
    if shared:
        yield group_page(site, shared)


class _Worker:
    """What a worker process opens once."""

    work: UnitWork
    connection: Connection
    exemplars: FirstExemplars


def _start_worker(work: UnitWork) -> None:
    _Worker.work = work
    _Worker.connection = open_atlas(work.database).connect()
    _Worker.exemplars = _open_exemplars(work)


def _fill_in_worker(task: Range) -> FilledUnits:
    return _fill(_Worker.connection, _Worker.work, _Worker.exemplars, task, lambda n_units: None)
