"""One walk through an atlas, record by record: every file of its site is written on the way."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.known_summaries import KnownSummaries
from atlas_db.records import Page
from atlas_db.sql_schema import tables
from atlas_site import list_pages
from atlas_site.addresses import CONCEPTS_PAGE, IMAGES_PAGE, SHELL_PAGE, thumbnail_address
from atlas_site.compare_page import compare
from atlas_site.context import OWN_PAGE, ConceptLink, Scope, Site
from atlas_site.downloads import check_command, download_table, licence_table, write_downloads
from atlas_site.explore_files import explore_files
from atlas_site.fill_tasks import Kind, Work, explore_tasks, page_tasks, parts_of, unit_tasks
from atlas_site.find_index import find_files
from atlas_site.first_exemplars import FirstExemplars
from atlas_site.hand_written import Everything, fill_hand_written, make_parts, mark_all
from atlas_site.layer_page import N_LISTED_UNITS, layer_page
from atlas_site.publish import Publisher
from atlas_site.request import FillRequest
from atlas_site.shell import FilledPage, Shell
from atlas_site.sitemaps import write_sitemaps
from atlas_site.sql_page import write_sql_page
from atlas_site.sql_tables import table_list
from atlas_site.workers import n_processes, workers

Row = TypeVar("Row")

#: Units among which "random" chooses, and rows of a list read at once.
_N_NOTABLE = 400
_PART = 20_000


def _all(read: Callable[..., Page[Row]], connection: Connection) -> list[Row]:
    """Read a whole list, part by part."""
    rows: list[Row] = []
    offset: int | None = 0
    while offset is not None:
        page = read(connection, limit=_PART, offset=offset)
        rows.extend(page.rows)
        offset = page.next_offset
    return rows


def _everything(connection: Connection) -> Everything:
    return Everything(
        queries.layers(connection),
        _all(queries.concepts, connection),
        _all(queries.images, connection),
    )


class Filler:
    """One walk through an atlas."""

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        request: FillRequest,
        scope: Scope,
        *,
        scratch: Path,
    ) -> None:
        self.publisher = publisher
        self.request = request
        self.scope = scope
        everything = _everything(connection)
        self.site = Site(
            info=queries.atlas_info(connection),
            kinds=scope.page_kinds(queries.unit_columns(connection)["images"]),
            group=scope.group,
            layers=frozenset(scope.chosen_layers()),
            concepts={
                concept.concept: ConceptLink(concept.slug, concept.n_units)
                for concept in everything.concepts
            },
            pictures=self._write_pictures(connection, len(everything.images)),
        )
        info = self.site.info
        # Pages of concepts show what those of units leave in `FirstExemplars`.
        self._tasks = (
            unit_tasks(list(scope.ranges()), scope.group),
            page_tasks(everything.images, everything.concepts)
            + explore_tasks(info.n_units, everything.concepts),
        )
        self.scratch = scratch
        FirstExemplars(scratch / "exemplars", info.n_units, info.n_patch).close()
        KnownSummaries.write(connection, scratch)

    def write_pages(self, shell: str) -> None:
        """Fill MkDocs's shell with what there are many of: in processes, if there are very many."""
        options = self.request.options
        html = mark_all(shell, self.site.info)
        self.shell = Shell(html, options.site_url, self.request.with_policy)
        totals: Counter[Kind] = Counter()
        for task in itertools.chain(*self._tasks):
            totals[task.kind] += task.n
        done = dict.fromkeys((Kind.UNITS, Kind.IMAGES, Kind.CONCEPTS), 0)

        def tell(kind: Kind, n: int) -> None:
            if kind in done:
                done[kind] += n
                if n > 1 or done[kind] % 100 == 0 or done[kind] == totals[kind]:
                    self.request.tell(kind.value, done[kind], totals[kind])

        work = Work(
            database=self.request.database,
            out=self.publisher.out,
            exemplars=self.scratch / "exemplars",
            summaries=self.scratch,
            site=self.site,
            shell=self.shell,
        )
        processes = n_processes(self.request.processes, self.scope.n_units())
        with workers(work, processes, tell) as do:
            for tasks in self._tasks:
                for filled in do(tasks):
                    self.publisher.absorb(filled.writer)

    def write_rest(self, connection: Connection, rendered: Path) -> None:
        """Make every other file of the site, once there are those pages."""
        KnownSummaries(self.scratch).remember(connection)
        # Read anew, as it need not be held while pages are filled.
        self.everything = _everything(connection)
        columns = queries.unit_columns(connection)
        self._write_layers(connection, columns["images"])
        self._write_lists()
        self._write_rendered(connection, rendered)
        self._write_find_index(connection)
        for file in explore_files(self.site, columns):
            self.publisher.write(file.address, file.content)
        write_sitemaps(self.publisher, self.request.options.site_url)

    def _write(self, page: FilledPage) -> None:
        self.publisher.write(page.address, self.shell.render(page))

    def _write_pictures(self, connection: Connection, n_images: int) -> frozenset[int]:
        """Write each image's thumbnail and say which have one."""
        if self.request.options.images == "link":
            return frozenset()
        pictures: set[int] = set()
        for image_id, thumbnail in queries.thumbnails(connection):
            self.publisher.write(thumbnail_address(image_id), thumbnail)
            pictures.add(image_id)
            self.request.tell("pictures", len(pictures), n_images)
        return frozenset(pictures)

    def _write_layers(self, connection: Connection, images: npt.NDArray[Any]) -> None:
        built = [layer for layer in self.everything.layers if layer.layer in self.site.layers]
        size = self.site.info.units_per_layer
        for done, record in enumerate(built, 1):
            units = queries.units(
                connection, layer=record.layer, sort="images", limit=N_LISTED_UNITS
            )
            first = record.layer * size
            n_images = images[first : first + size]
            self._write(layer_page(self.site, record, units.rows, n_images))
            self.request.tell("layers", done, len(built))

    def _write_lists(self) -> None:
        """Write the lists' parts after the first, which is on a hand-written page."""
        site, everything = self.site, self.everything
        images = parts_of(everything.images, list_pages.N_LISTED_IMAGES)
        for number, image_part in enumerate(images[1:], 2):
            content = list_pages.image_list(site, image_part, number)
            self._write(list_pages.list_page(IMAGES_PAGE, number, "Images", content))
        concepts = parts_of(everything.concepts, list_pages.N_LISTED_CONCEPTS)
        for number, concept_part in enumerate(concepts[1:], 2):
            content = list_pages.concept_list(site, concept_part, number)
            self._write(list_pages.list_page(CONCEPTS_PAGE, number, "Concepts", content))

    def _write_rendered(self, connection: Connection, rendered: Path) -> None:
        """Publish MkDocs's own files, the marks of its pages filled."""
        parts = make_parts(connection, self.site, self.everything)
        parts |= self._on_request(connection)
        for path in sorted(rendered.rglob("*")):
            address = path.relative_to(rendered).as_posix()
            if path.is_dir() or address == SHELL_PAGE:
                continue
            content = path.read_bytes()
            if path.suffix == ".html":
                html = fill_hand_written(
                    content.decode("utf-8"),
                    parts,
                    self.site.info,
                    with_policy=self.request.with_policy,
                )
                content = html.encode("utf-8")
            self.publisher.write(address, content)

    def _on_request(self, connection: Connection) -> dict[str, str]:
        """Make what the options ask for: files to take away, SQL, a second atlas."""
        options = self.request.options
        files = write_downloads(self.publisher, self.request.database, options, self.scratch)
        return {
            "downloads": download_table(files, options),
            "ask": write_sql_page(
                self.publisher,
                self.request.database,
                options,
                self.scratch,
                self.site.info.content_hash,
            ),
            "tables": table_list(tables(connection)),
            "compare": compare(connection, options.compare),
            "check": check_command(files),
            "licences": licence_table(self.site.info, queries.licences(connection)),
        }

    def _write_find_index(self, connection: Connection) -> None:
        notable = queries.examples(connection, limit=_N_NOTABLE)
        files = find_files(
            self.site.info,
            self.everything.concepts,
            self.everything.images,
            layers=self.scope.chosen_layers(),
            group=self.scope.group,
            is_partial=bool((self.site.kinds != OWN_PAGE).any()),
            notable=[unit.uid for unit in notable if self.site.kinds[unit.uid] == OWN_PAGE],
        )
        for file in files:
            self.publisher.write(file.address, file.content)
