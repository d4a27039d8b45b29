"""One walk through an atlas, record by record: every file of its site is written on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.records import Page
from atlas_site import list_pages
from atlas_site.addresses import CONCEPTS_PAGE, IMAGES_PAGE, SHELL_PAGE, thumbnail_address
from atlas_site.compare_page import compare
from atlas_site.concept_page import concept_page
from atlas_site.context import OWN_PAGE, ConceptLink, Scope, Site
from atlas_site.downloads import check_command, download_table, licence_table, write_downloads
from atlas_site.explore_files import concept_unit_files, explore_files
from atlas_site.fill_units import UnitWork, fill_units
from atlas_site.find_index import find_files
from atlas_site.first_exemplars import FirstExemplars
from atlas_site.hand_written import Everything, fill_hand_written, make_parts, mark_all
from atlas_site.image_page import image_page
from atlas_site.image_tables import attributions_page
from atlas_site.layer_page import N_LISTED_UNITS, layer_page
from atlas_site.publish import Publisher
from atlas_site.request import FillRequest
from atlas_site.shell import FilledPage, Shell
from atlas_site.sitemaps import write_sitemaps
from atlas_site.sql_page import write_sql_page

Row = TypeVar("Row")

#: Units among which "random" chooses, and rows of a list read at once.
_N_NOTABLE = 400
_PART = 1000


def _all(read: Callable[..., Page[Row]], connection: Connection) -> list[Row]:
    """Read a whole list, part by part."""
    rows: list[Row] = []
    offset: int | None = 0
    while offset is not None:
        page = read(connection, limit=_PART, offset=offset)
        rows.extend(page.rows)
        offset = page.next_offset
    return rows


def _cut(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


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
        self.connection = connection
        self.publisher = publisher
        self.request = request
        self.scope = scope
        self.everything = Everything(
            queries.layers(connection),
            _all(queries.concepts, connection),
            _all(queries.images, connection),
        )
        self.columns = queries.unit_columns(connection)
        self.site = Site(
            info=queries.atlas_info(connection),
            kinds=scope.page_kinds(self.columns["images"]),
            group=scope.group,
            layers=frozenset(scope.chosen_layers()),
            concepts={
                concept.concept: ConceptLink(concept.slug, concept.n_units)
                for concept in self.everything.concepts
            },
            pictures=self._write_pictures(),
        )
        info = self.site.info
        self.scratch = scratch
        self.exemplars_path = scratch / "exemplars"
        self.exemplars = FirstExemplars(self.exemplars_path, info.n_units, info.n_patch)

    def fill(self, rendered: Path) -> None:
        """Make every file of the site."""
        html = mark_all((rendered / SHELL_PAGE).read_text(encoding="utf-8"), self.site.info)
        options = self.request.options
        self.shell = Shell(html, options.site_url, self.request.with_policy)
        self._write_units()
        self._write_images()
        self._write_concepts()
        self._write_layers()
        self._write_lists()
        self._write_rendered(rendered)
        self._write_find_index()
        self._write_explore()
        write_sitemaps(self.publisher, options.site_url)

    def _write(self, page: FilledPage) -> None:
        self.publisher.write(page.address, self.shell.render(page))

    def _write_pictures(self) -> frozenset[int]:
        """Write each image's thumbnail and say which have one."""
        pictures, images = set(), self.everything.images
        if self.request.options.images == "link":
            return frozenset()
        for done, image in enumerate(images, 1):
            thumbnail = queries.thumbnail(self.connection, image.image_id)
            if thumbnail is not None:
                self.publisher.write(thumbnail_address(image.image_id), thumbnail)
                pictures.add(image.image_id)
            self.request.tell("pictures", done, len(images))
        return frozenset(pictures)

    def _write_units(self) -> None:
        done, total = 0, self.scope.n_units()

        def tell(n_units: int) -> None:
            nonlocal done
            done += n_units
            if n_units > 1 or done % 100 == 0 or done == total:
                self.request.tell("units", done, total)

        work = UnitWork(
            database=self.request.database,
            out=self.publisher.out,
            exemplars=self.exemplars_path,
            site=self.site,
            shell=self.shell,
        )
        ranges = list(self.scope.ranges())
        for filled in fill_units(work, ranges, processes=self.request.processes, tell=tell):
            self.publisher.absorb(filled.writer)

    def _write_images(self) -> None:
        for done, record in enumerate(queries.image_records(self.connection), 1):
            ablations = queries.image_ablations(self.connection, record.summary.image_id)
            self._write(image_page(self.site, record, ablations))
            if record.targets:
                self._write(attributions_page(self.site, record))
            self.request.tell("images", done, len(self.everything.images))

    def _write_concepts(self) -> None:
        for done, record in enumerate(queries.concept_records(self.connection), 1):
            self._write(concept_page(self.site, record, self.exemplars.of))
            self.request.tell("concepts", done, len(self.everything.concepts))

    def _write_layers(self) -> None:
        built = [layer for layer in self.everything.layers if layer.layer in self.site.layers]
        size = self.site.info.units_per_layer
        for done, record in enumerate(built, 1):
            units = queries.units(
                self.connection, layer=record.layer, sort="images", limit=N_LISTED_UNITS
            )
            first = record.layer * size
            n_images = self.columns["images"][first : first + size]
            self._write(layer_page(self.site, record, units.rows, n_images))
            self.request.tell("layers", done, len(built))

    def _write_lists(self) -> None:
        """Write the lists' parts after the first, which is on a hand-written page."""
        site, everything = self.site, self.everything
        images = _cut(everything.images, list_pages.N_LISTED_IMAGES)
        for number, image_part in enumerate(images[1:], 2):
            content = list_pages.image_list(site, image_part, number)
            self._write(list_pages.list_page(IMAGES_PAGE, number, "Images", content))
        concepts = _cut(everything.concepts, list_pages.N_LISTED_CONCEPTS)
        for number, concept_part in enumerate(concepts[1:], 2):
            content = list_pages.concept_list(site, concept_part, number)
            self._write(list_pages.list_page(CONCEPTS_PAGE, number, "Concepts", content))

    def _write_rendered(self, rendered: Path) -> None:
        """Publish MkDocs's own files, the marks of its pages filled."""
        parts = make_parts(self.connection, self.site, self.everything)
        parts |= self._on_request()
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

    def _on_request(self) -> dict[str, str]:
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
            "compare": compare(self.connection, options.compare),
            "check": check_command(files),
            "licences": licence_table(self.site.info, queries.licences(self.connection)),
        }

    def _write_find_index(self) -> None:
        notable = queries.examples(self.connection, limit=_N_NOTABLE)
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

    def _write_explore(self) -> None:
        """Write the columns, rows and lists of units that the explore page narrows."""
        for file in explore_files(self.connection, self.site, self.columns):
            self.publisher.write(file.address, file.content)
        for file in concept_unit_files(self.connection, self.everything.concepts):
            self.publisher.write(file.address, file.content)
