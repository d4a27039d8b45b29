"""What the atlas adds to the hand-written pages, in the place of their marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.records import AtlasInfo, ConceptSummary, ImageSummary, LayerRecord
from atlas_site import explore_page, front_page, list_pages, provenance, report_page
from atlas_site.context import Site
from atlas_site.shell import HEAD, add_policy

_N_EXAMPLES = 13  # one of them in large
_N_OFTEN = 60


@dataclass(frozen=True, slots=True)
class Everything:
    """The lists of an atlas that are short enough to hold: all but its units."""

    layers: tuple[LayerRecord, ...]
    concepts: Sequence[ConceptSummary]  # those of most units first
    images: Sequence[ImageSummary]


def mark_all(html: str, info: AtlasInfo) -> str:
    """Fill the marks that say the same on every page."""
    html = html.replace("<!--atlas:banner-->", provenance.banner(info))
    return html.replace("<!--atlas:provenance-->", provenance.provenance_line(info))


def fill_hand_written(
    html: str, parts: Mapping[str, str], info: AtlasInfo, *, with_policy: bool
) -> str:
    """Fill all marks of a page that MkDocs rendered at the root."""
    html = mark_all(html, info).replace(HEAD, "")
    for mark, part in parts.items():
        html = html.replace(f"<!-- atlas:{mark} -->", part)
    return add_policy(html) if with_policy else html


def make_parts(connection: Connection, site: Site, everything: Everything) -> dict[str, str]:
    """Make what stands for each `<!-- atlas:NAME -->` of the hand-written pages."""
    layers, concepts, images = everything.layers, everything.concepts, everything.images
    covering = queries.covering_units(connection, limit=_N_EXAMPLES)
    chosen = [one.unit for one in covering] or queries.examples(connection, limit=_N_EXAMPLES)
    shown = [queries.unit(connection, unit.layer, unit.unit) for unit in chosen]
    n_always_on = queries.units(connection, always_on=True, limit=1).total
    return {
        "counts": front_page.counts(site.info, layers),
        "featured": front_page.featured(site, shown[0] if shown else None),
        "examples": front_page.examples(site, shown[1:], covering),
        "often": front_page.often(concepts[:_N_OFTEN]),
        "findings": front_page.findings(site, layers, n_always_on),
        "explore": explore_page.explore_tool(site),
        "lists": explore_page.lists(connection, site),
        "categories": explore_page.category_tables(site, queries.categories(connection)),
        "report": report_page.report(
            queries.experiments(connection), queries.replication(connection)
        ),
        "queries": front_page.ready_queries(shown[0] if shown else queries.unit(connection, 0, 0)),
        "provenance": provenance.provenance_table(site.info),
        "layers": list_pages.layer_table(site, layers),
        "images": list_pages.image_list(site, images[: list_pages.N_LISTED_IMAGES], 1),
        "concepts": list_pages.concept_list(site, concepts[: list_pages.N_LISTED_CONCEPTS], 1),
    }
