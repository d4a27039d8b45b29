"""The files that are made task by task: pages of units, images and concepts, rows to be narrowed.

A task is a range that a few queries answer; its files are written at once, and nothing of it is
kept but what `Filled` says. `workers` shares tasks out among processes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from atlas_db import queries
from atlas_db.connection import Connection, close_bounded, open_atlas
from atlas_db.growing_memory import GrowingMemory
from atlas_db.queries.statements import collector_paused
from atlas_db.records import ConceptSummary, ImageSummary, UnitRecord
from atlas_site.concept_page import UnitCards, concept_page
from atlas_site.context import GROUPED, OWN_PAGE, Site
from atlas_site.explore_files import SHARD_UNITS, concept_shards, concept_unit_file, row_files
from atlas_site.find_index import FindFile
from atlas_site.first_exemplars import FirstExemplars
from atlas_site.group_page import group_page
from atlas_site.image_page import image_page
from atlas_site.image_tables import AttributionTables
from atlas_site.kept import forget_all
from atlas_site.measured import N_TEXTS
from atlas_site.memory import give_back
from atlas_site.publish import Writer
from atlas_site.recent_summaries import RecentSummaries
from atlas_site.shell import FilledPage, Shell
from atlas_site.unit_page import unit_page

Row = TypeVar("Row")

#: Units, images and concepts that one task fills.
_TASK_UNITS = 2000
_TASK_IMAGES = 100
_TASK_CONCEPTS = 250
#: What a process lets DuckDB take, at first and at most: each range is read once, and never asked
#: for again.
_DATABASE_MB, _MOST_DATABASE_MB = 16, 1024
#: Units whose rows for the explore page one task writes: whole files of them.
_TASK_ROWS = 64 * SHARD_UNITS


class Kind(Enum):
    """What a task fills; the value is what progress calls it."""

    UNITS = "units"
    IMAGES = "images"
    CONCEPTS = "concepts"
    ROWS = "rows"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Task:
    """A range of files to make."""

    kind: Kind
    first: Any  # a uid, an image's id or a concept
    last: Any  # likewise, included
    n: int  # steps of progress that it is
    number: int = 0  # of a file that it makes


@dataclass(frozen=True, slots=True)
class Work:
    """What a process needs to fill files."""

    database: Path
    out: Path
    exemplars: Path  # a file that `FirstExemplars` made
    summaries: Path  # a folder that `KnownSummaries` wrote
    site: Site
    shell: Shell


@dataclass(frozen=True, slots=True)
class Filled:
    """What is left of a task that was done: which it was and who wrote its files."""

    task: Task
    writer: Writer


def unit_tasks(ranges: Sequence[tuple[int, int]], group: int) -> list[Task]:
    """Cut the pages of units into tasks: ranges (first, stop) of uids, each within a layer."""
    # Units that share a page fall to one task: ranges begin where layers do.
    step = max(_TASK_UNITS // group * group, group) if group else _TASK_UNITS
    return [
        Task(Kind.UNITS, start, min(start + step, stop) - 1, min(step, stop - start))
        for first, stop in ranges
        for start in range(first, stop, step)
    ]


def page_tasks(images: Sequence[ImageSummary], concepts: Sequence[ConceptSummary]) -> list[Task]:
    """Cut the pages of images and concepts into tasks, to be done once those of units are."""
    ids = sorted(image.image_id for image in images)
    names = sorted(concept.concept for concept in concepts)
    return _cut(Kind.IMAGES, ids, _TASK_IMAGES) + _cut(Kind.CONCEPTS, names, _TASK_CONCEPTS)


def _cut(kind: Kind, keys: Sequence[Any], size: int) -> list[Task]:
    return [Task(kind, part[0], part[-1], len(part)) for part in parts_of(keys, size)]


def parts_of(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Cut rows into parts of `size`; the last may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def explore_tasks(n_units: int, concepts: Sequence[ConceptSummary]) -> list[Task]:
    """Cut the files of rows and those of the units of each concept into tasks."""
    rows = [
        Task(Kind.ROWS, start, min(start + _TASK_ROWS, n_units) - 1, 1)
        for start in range(0, n_units, _TASK_ROWS)
    ]
    shards = concept_shards(concepts)
    return rows + [Task(Kind.WORDS, *ends, 1, number) for number, ends in enumerate(shards)]


class Workplace:
    """What a process opens once and does every task with."""

    def __init__(self, work: Work) -> None:
        self.work, self.site = work, work.site
        info = work.site.info
        # One thread a statement: the processes share the cores already.
        self._engine = open_atlas(work.database, threads=1, memory_mb=_DATABASE_MB)
        self.connection: Connection = self._engine.connect()
        self.memory = GrowingMemory(self.connection, _DATABASE_MB, _MOST_DATABASE_MB)
        self._kind: Kind | None = None
        RecentSummaries(work.summaries).remember(self.connection)
        self.exemplars = FirstExemplars(work.exemplars, info.n_units, info.n_patch, "r+")
        self.cards = UnitCards(self.site, self.exemplars.of)
        # All that is there by now stays: each look of the collector through it would be in vain.
        gc.freeze()

    def close(self) -> None:
        """Let go of the atlas and of the files beside it."""
        gc.unfreeze()
        self.exemplars.close()
        self.connection.close()
        close_bounded(self._engine)

    def do(self, task: Task, tell: Callable[[int], None] = lambda n: None) -> Filled:
        """Write the files of a task; `tell` is called with each step of it."""
        if task.kind is not self._kind:
            self._kind = task.kind
            forget_all()
        # Records hold no cycles, and there are very many of them to look through in vain.
        with collector_paused():
            writer = self.memory.enough_for(lambda: self._write(task, tell))
        give_back()
        return Filled(task, writer)

    def _write(self, task: Task, tell: Callable[[int], None]) -> Writer:
        writer = Writer(self.work.out)
        if task.kind is Kind.ROWS or task.kind is Kind.WORDS:
            for file in self._explore_files(task):
                writer.write(file.address, file.content)
            return writer
        pages = {
            Kind.UNITS: self._units,
            Kind.IMAGES: self._images,
            Kind.CONCEPTS: self._concepts,
        }[task.kind]
        for page in pages(task, tell):
            writer.write(page.address, self.work.shell.render(page))
        return writer

    def _units(self, task: Task, tell: Callable[[int], None]) -> Iterator[FilledPage]:
        """Make the pages of a range of units, those of their own and those that units share."""
        site, ends = self.site, (task.first, task.last + 1)
        shared: list[UnitRecord] = []
        figures = queries.measured_units(self.connection, *ends)
        texts = queries.measured_texts(self.connection, *ends, limit=N_TEXTS)
        for record in queries.unit_records(self.connection, *ends):
            unit = record.summary
            self.exemplars.keep(unit.uid, record.exemplars)
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

    def _images(self, task: Task, tell: Callable[[int], None]) -> Iterator[FilledPage]:
        ablations = queries.ablations(self.connection, task.first, task.last)
        for record in queries.image_records(self.connection, task.first, task.last):
            tables = AttributionTables(self.site, record)
            ablated = ablations.get(record.summary.image_id, ())
            yield image_page(self.site, record, tables, ablated)
            if record.targets:
                yield tables.page()
            tell(1)

    def _concepts(self, task: Task, tell: Callable[[int], None]) -> Iterator[FilledPage]:
        for record in queries.concept_records(self.connection, task.first, task.last):
            yield concept_page(self.site, record, self.cards)
            tell(1)

    def _explore_files(self, task: Task) -> Iterator[FindFile]:
        if task.kind is Kind.ROWS:
            yield from row_files(self.connection, task.first, task.last + 1)
        else:
            yield concept_unit_file(self.connection, task.number, task.first, task.last)
