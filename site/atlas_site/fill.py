"""Fill a site from an atlas: a page for every unit, image, concept and layer, and the search.

MkDocs has rendered the hand-written pages and one shell (`rendered`). This walks once through the
atlas, record by record, and hands whole files to a `Publisher`; memory does not grow with the
number of units. It imports no MkDocs: another generator may render the same Markdown.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas_db import queries
from atlas_db.connection import Connection, close_bounded, open_atlas
from atlas_db.records import AtlasInfo
from atlas_site.addresses import SHELL_PAGE
from atlas_site.context import GROUPED, OWN_PAGE, Scope
from atlas_site.filler import Filler
from atlas_site.memory import give_back, without_pandas
from atlas_site.options import SiteOptions
from atlas_site.publish import Publisher
from atlas_site.request import FillRequest, SiteReport
from atlas_site.second_build import mark_complete

#: What DuckDB may take in the process that leads: it reads columns and lists, each of them once.
_DATABASE_MB = 64
#: And for each MB that a file to take away may have: Parquet is written in groups of many rows.
_EXPORT_MB = 4


def fill_site(rendered: Path, out: Path, request: FillRequest) -> SiteReport:
    """Publish what MkDocs rendered and all that the atlas adds.

    Args:
        rendered: The folder that MkDocs wrote; its shell is used and not published.
        out: The site's folder.

    Raises:
        AtlasFileError: The atlas is missing, damaged or of another schema version.
        SiteError: `out` holds something that is no site of ours.
        ValueError: A layer that the atlas does not have, a limit below 0.
    """
    with without_pandas():
        return _fill_site(rendered, out, request)


def _fill_site(rendered: Path, out: Path, request: FillRequest) -> SiteReport:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        with _reading(request) as connection:
            scope = _scope(queries.atlas_info(connection), request.options)
            published = Publisher(out)
            filler = Filler(connection, published, request, scope, scratch=Path(scratch))
        # Nothing is read here while processes fill pages: what DuckDB keeps is let go of.
        give_back()
        filler.write_pages((rendered / SHELL_PAGE).read_text(encoding="utf-8"))
        with _reading(request) as connection:
            filler.write_rest(connection, rendered)
    published.remove_stale()
    kinds = filler.site.kinds
    report = SiteReport(
        out=out,
        n_units=int((kinds == OWN_PAGE).sum()),
        n_grouped=int((kinds == GROUPED).sum()),
        n_images=len(filler.everything.images),
        n_concepts=len(filler.everything.concepts),
        n_layers=len(scope.chosen_layers()),
        n_written=published.n_written,
        n_unchanged=published.n_unchanged,
        n_removed=published.n_removed,
        n_bytes=published.n_bytes,
        seconds=time.monotonic() - start,
    )
    mark_complete(report, request.stamp)
    return report


@contextmanager
def _reading(request: FillRequest) -> Iterator[Connection]:
    engine = open_atlas(request.database, threads=1, memory_mb=_memory_mb(request.options))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        close_bounded(engine)


def _memory_mb(options: SiteOptions) -> int:
    """Bound what DuckDB takes by what it has to do."""
    return _DATABASE_MB + _EXPORT_MB * options.downloads_mb


def _scope(info: AtlasInfo, options: SiteOptions) -> Scope:
    return Scope(
        info.n_layers,
        info.units_per_layer,
        None if options.layers is None else frozenset(options.layers),
        options.limit,
        options.min_images,
        options.group,
    )
