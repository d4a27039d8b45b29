"""Fill a site from an atlas: a page for every unit, image, concept and layer, and the search.

MkDocs has rendered the hand-written pages and one shell (`rendered`). This walks once through the
atlas, record by record, and hands whole files to a `Publisher`; memory does not grow with the
number of units. It imports no MkDocs: another generator may render the same Markdown.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_db import queries
from atlas_db.connection import Connection, open_atlas
from atlas_db.records import AtlasInfo, ConceptSummary, ImageSummary, LayerRecord
from atlas_site import front_page, list_pages, provenance
from atlas_site.addresses import (
    CONCEPTS_PAGE,
    IMAGES_PAGE,
    SHELL_PAGE,
    thumbnail_address,
)
from atlas_site.concept_page import concept_page
from atlas_site.context import ConceptLink, Scope, Site
from atlas_site.find_index import find_files
from atlas_site.first_exemplars import FirstExemplars
from atlas_site.image_page import image_page
from atlas_site.layer_page import N_LISTED_UNITS, layer_page
from atlas_site.publish import Publisher
from atlas_site.shell import HEAD, FilledPage, Shell, add_policy
from atlas_site.unit_page import unit_page

#: Called with the name of a stage, the steps of it that are done and how many it has.
Progress = Callable[[str, int, int], None]

_N_EXAMPLES = 13  # one of them in large
_N_NOTABLE = 400
_N_OFTEN = 60
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class FillRequest:
    """Which atlas to fill a site from, and how much of it."""

    database: Path
    layers: Sequence[int] | None = None
    limit: int | None = None
    site_url: str = ""
    with_policy: bool = True  # off where a development server adds scripts of its own
    progress: Progress | None = None

    def tell(self, stage: str, done: int, total: int) -> None:
        """Report progress, if anybody listens."""
        if self.progress is not None:
            self.progress(stage, done, total)


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What a build made."""

    out: Path
    n_units: int
    n_images: int
    n_concepts: int
    n_layers: int
    n_written: int
    n_unchanged: int
    n_removed: int
    n_bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.out}: {self.n_units:,} units, {self.n_images:,} images, "
            f"{self.n_concepts:,} concepts, {self.n_layers:,} layers; {self.n_written:,} files "
            f"written, {self.n_unchanged:,} unchanged, {self.n_removed:,} removed, "
            f"{self.n_bytes / 1e6:,.1f} MB in {self.seconds:.1f} s"
        )


def fill_site(rendered: Path, out: Path, request: FillRequest) -> SiteReport:
    """Publish what MkDocs rendered and all that the atlas adds.

    Args:
        rendered: The folder that MkDocs wrote; its shell is used and not published.
        out: The site's folder.

    Raises:
        AtlasFileError: The atlas is missing, damaged or of another schema version.
        SiteError: `out` holds something that is no site of ours.
    """
    start = time.monotonic()
    engine = open_atlas(request.database)
    try:
        with engine.connect() as connection, tempfile.TemporaryDirectory() as scratch:
            filler = _Filler(connection, rendered, Publisher(out), request, Path(scratch))
            filler.fill()
    finally:
        engine.dispose()
    site, published = filler.site, filler.publisher
    return SiteReport(
        out=out,
        n_units=filler.scope.n_units(),
        n_images=site.info.n_images,
        n_concepts=len(site.concepts),
        n_layers=len(site.layers),
        n_written=published.n_written,
        n_unchanged=published.n_unchanged,
        n_removed=published.n_removed,
        n_bytes=published.n_bytes,
        seconds=time.monotonic() - start,
    )


class _Filler:
    """One walk through an atlas."""

    def __init__(
        self,
        connection: Connection,
        rendered: Path,
        publisher: Publisher,
        request: FillRequest,
        scratch: Path,
    ) -> None:
        self.connection = connection
        self.rendered = rendered
        self.publisher = publisher
        self.request = request
        self.info: AtlasInfo = queries.atlas_info(connection)
        self.layers: tuple[LayerRecord, ...] = queries.layers(connection)
        self.concepts = self._all_concepts()
        self.images = self._all_images()
        chosen = None if request.layers is None else frozenset(request.layers)
        self.scope = Scope(self.info.n_layers, self.info.units_per_layer, chosen, request.limit)
        self.site = Site(
            info=self.info,
            built=self.scope.merged(),
            layers=frozenset(self.scope.chosen_layers()),
            concepts={
                concept.concept: ConceptLink(concept.slug, concept.n_units)
                for concept in self.concepts
            },
            pictures=self._write_pictures(),
        )
        self.shell = self._read_shell()
        self.exemplars = FirstExemplars(scratch / "exemplars", self.info.n_units, self.info.n_patch)
        self.n_images = np.zeros(self.info.n_units, np.int64)

    def fill(self) -> None:
        """Make every file."""
        self._write_units()
        self._write_images()
        self._write_concepts()
        self._write_layers()
        self._write_lists()
        self._write_rendered()
        self._write_find_index()
        self.publisher.finish()

    def _all_concepts(self) -> list[ConceptSummary]:
        found: list[ConceptSummary] = []
        offset: int | None = 0
        while offset is not None:
            page = queries.concepts(self.connection, limit=_BATCH, offset=offset)
            found.extend(page.rows)
            offset = page.next_offset
        return found

    def _all_images(self) -> list[ImageSummary]:
        found: list[ImageSummary] = []
        offset: int | None = 0
        while offset is not None:
            page = queries.images(self.connection, limit=_BATCH, offset=offset)
            found.extend(page.rows)
            offset = page.next_offset
        return found

    def _write_pictures(self) -> frozenset[int]:
        pictures = set()
        for done, image in enumerate(self.images):
            thumbnail = queries.thumbnail(self.connection, image.image_id)
            if thumbnail is not None:
                self.publisher.write(thumbnail_address(image.image_id), thumbnail)
                pictures.add(image.image_id)
            self.request.tell("pictures", done + 1, len(self.images))
        return frozenset(pictures)

    def _read_shell(self) -> Shell:
        html = (self.rendered / SHELL_PAGE).read_text(encoding="utf-8")
        return Shell(self._mark_all(html), self.request.site_url, self.request.with_policy)

    def _mark_all(self, html: str) -> str:
        """Fill the marks that say the same on every page."""
        html = html.replace("<!--atlas:banner-->", provenance.banner(self.info))
        return html.replace("<!--atlas:provenance-->", provenance.provenance_line(self.info))

    def _write(self, page: FilledPage) -> None:
        self.publisher.write(page.address, self.shell.render(page))

    def _write_units(self) -> None:
        done, total = 0, self.scope.n_units()
        for first, stop in self.scope.ranges():
            for record in queries.unit_records(self.connection, first, stop):
                uid = record.summary.uid
                self._write(unit_page(self.site, record))
                self.exemplars.keep(uid, record.exemplars)
                self.n_images[uid] = record.summary.n_images
                done += 1
                if done % 100 == 0 or done == total:
                    self.request.tell("units", done, total)

    def _write_images(self) -> None:
        for done, record in enumerate(queries.image_records(self.connection), 1):
            self._write(image_page(self.site, record))
            self.request.tell("images", done, len(self.images))

    def _write_concepts(self) -> None:
        for done, record in enumerate(queries.concept_records(self.connection), 1):
            self._write(concept_page(self.site, record, self.exemplars.of))
            self.request.tell("concepts", done, len(self.concepts))

    def _write_layers(self) -> None:
        size = self.info.units_per_layer
        for record in self.layers:
            if record.layer not in self.site.layers:
                continue
            units = queries.units(
                self.connection, layer=record.layer, sort="images", limit=N_LISTED_UNITS
            )
            first = record.layer * size
            n_images = self.n_images[first : first + size]
            self._write(layer_page(self.site, record, units.rows, n_images))
            self.request.tell("layers", record.layer + 1, len(self.layers))

    def _write_lists(self) -> None:
        for number, images in enumerate(self._cut(self.images, list_pages.N_LISTED_IMAGES), 1):
            if number > 1:
                content = list_pages.image_list(self.site, images, number)
                self._write(list_pages.list_page(IMAGES_PAGE, number, "Images", content))
        for number, concepts in enumerate(
            self._cut(self.concepts, list_pages.N_LISTED_CONCEPTS), 1
        ):
            if number > 1:
                content = list_pages.concept_list(self.site, concepts, number)
                self._write(list_pages.list_page(CONCEPTS_PAGE, number, "Concepts", content))

    @staticmethod
    def _cut(rows: list, size: int) -> list:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _write_rendered(self) -> None:
        """Publish MkDocs's own files, the atlas's parts of hand-written pages filled in."""
        parts = self._parts()
        for path in sorted(self.rendered.rglob("*")):
            address = path.relative_to(self.rendered).as_posix()
            if path.is_dir() or address == SHELL_PAGE:
                continue
            content = path.read_bytes()
            if path.suffix == ".html":
                content = self._fill_rendered(content.decode("utf-8"), parts).encode("utf-8")
            self.publisher.write(address, content)

    def _fill_rendered(self, html: str, parts: dict[str, str]) -> str:
        html = self._mark_all(html).replace(HEAD, "")
        for mark, part in parts.items():
            html = html.replace(f"<!-- atlas:{mark} -->", part)
        return add_policy(html) if self.request.with_policy else html

    def _parts(self) -> dict[str, str]:
        site, info = self.site, self.info
        examples = queries.examples(self.connection, limit=_N_NOTABLE)
        self.notable = [unit.uid for unit in examples if site.has_unit(unit.uid)]
        shown = [
            queries.unit(self.connection, unit.layer, unit.unit) for unit in examples[:_N_EXAMPLES]
        ]
        n_always_on = queries.units(self.connection, always_on=True, limit=1).total
        often = sorted(self.concepts, key=lambda concept: (-concept.n_units, concept.concept))
        return {
            "counts": front_page.counts(info, self.layers),
            "featured": front_page.featured(site, shown[0] if shown else None),
            "examples": front_page.examples(site, shown[1:]),
            "often": front_page.often(often[:_N_OFTEN]),
            "findings": front_page.findings(site, self.layers, n_always_on),
            "queries": front_page.ready_queries(),
            "provenance": provenance.provenance_table(info),
            "layers": list_pages.layer_table(site, self.layers),
            "images": list_pages.image_list(site, self.images[: list_pages.N_LISTED_IMAGES], 1),
            "concepts": list_pages.concept_list(
                site, self.concepts[: list_pages.N_LISTED_CONCEPTS], 1
            ),
        }

    def _write_find_index(self) -> None:
        files = find_files(
            self.info,
            self.concepts,
            self.images,
            layers=self.scope.chosen_layers(),
            notable=self.notable,
        )
        for file in files:
            self.publisher.write(file.address, file.content)
