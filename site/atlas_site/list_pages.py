"""Lists of all layers, images and concepts, as parts of hand-written pages and pages after them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from atlas_db.records import ConceptSummary, ImageSummary, LayerRecord
from atlas_site.addresses import (
    CONCEPTS_PAGE,
    IMAGES_PAGE,
    base_of,
    layer_address,
    list_address,
)
from atlas_site.context import Site
from atlas_site.pieces import concept_chip, hint, link, picture, table
from atlas_site.shell import FilledPage
from atlas_site.text import count, percent, prose

#: Entries on one page of a list.
N_LISTED_IMAGES = 120
N_LISTED_CONCEPTS = 600


def n_parts(total: int, size: int) -> int:
    """Count the pages of a list; an empty one has one."""
    return max(1, math.ceil(total / size))


def pager(base: str, first_page: str, number: int, parts: int) -> str:
    """Lead to the other parts of a list."""
    if parts == 1:
        return ""
    near = sorted({1, parts, *range(max(1, number - 3), min(parts, number + 3) + 1)})
    steps = []
    for before, part in zip([0, *near], near, strict=False):
        if part > before + 1:
            steps.append("<span>…</span>")
        current = ' aria-current="page"' if part == number else ""
        steps.append(f'<a href="{base}{list_address(first_page, part)}"{current}>{part}</a>')
    return f'<nav class="na-pager" aria-label="Parts of the list">{"".join(steps)}</nav>'


def image_list(site: Site, images: Sequence[ImageSummary], number: int) -> str:
    """Show part `number` of the images, as a grid of photographs with captions."""
    base = base_of(list_address(IMAGES_PAGE, number))
    tiles = "".join(
        f'<figure><a href="{site.image_link(base, image.image_id)}">'
        f"{picture(site, base, image.image_id)}</a>"
        f"<figcaption>{prose(image.caption)}</figcaption></figure>"
        for image in images
    )
    parts = n_parts(site.info.n_images, N_LISTED_IMAGES)
    return f'<div class="na-grid na-album">{tiles}</div>{pager(base, IMAGES_PAGE, number, parts)}'


def concept_list(site: Site, concepts: Sequence[ConceptSummary], number: int) -> str:
    """Show part `number` of the concepts, with their numbers of units."""
    base = base_of(list_address(CONCEPTS_PAGE, number))
    chips = " ".join(concept_chip(base, concept.concept, concept) for concept in concepts)
    parts = n_parts(len(site.concepts), N_LISTED_CONCEPTS)
    return f'<p class="na-chips">{chips}</p>{pager(base, CONCEPTS_PAGE, number, parts)}'


def list_page(first_page: str, number: int, noun: str, content: str) -> FilledPage:
    """Make part `number` (2 or more) of a list."""
    title = f"{noun}, part {number}"
    return FilledPage(
        address=list_address(first_page, number),
        title=title,
        description=f"All {noun.lower()} of the atlas, part {number}",
        content=f"<h1>{title}</h1>{content}",
    )


def layer_table(site: Site, layers: Sequence[LayerRecord]) -> str:
    """Show all layers with bars: where the units that matter for pictures lie."""
    top = max((layer.share_of_top_places for layer in layers), default=0) or 1
    rows = (
        f"<tr><td>{_layer_link(site, layer.layer)}</td>"
        f'<td class="na-bar" style="--w:{layer.share_of_top_places / top:.3f}">'
        f"<b>{percent(layer.share_of_top_places)}</b></td>"
        f"<td>{count(layer.n_top_units)}</td>"
        f"<td>{percent(layer.n_interpretable / max(layer.n_units, 1))}</td>"
        f"<td>{_readable_on_top(layer)}</td></tr>"
        for layer in layers
    )
    head = (
        f"<thead><tr><th>layer</th><th>{hint('', 'attribution', 'places')} in the images' top 100"
        "</th><th>units on top of an image</th>"
        f"<th>{hint('', 'interpretable', 'interpretable')}</th>"
        "<th>interpretable among those on top</th></tr></thead>"
    )
    return table(head, rows, "Layers")


def _readable_on_top(layer: LayerRecord) -> str:
    return percent(layer.n_top_interpretable / layer.n_top_units) if layer.n_top_units else "–"


def _layer_link(site: Site, layer: int) -> str:
    address = layer_address(layer) if layer in site.layers else None
    return link(address, f"Layer {layer}")
