"""An image's attributions as tables: the first on its page, all of them on a page beside it."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.records import AttributionRecord, ImageRecord, TargetRecord
from atlas_site.addresses import (
    IMAGES_PAGE,
    attributions_address,
    base_of,
    image_address,
)
from atlas_site.context import Site
from atlas_site.pieces import hint, link, table, token_chips, trail
from atlas_site.shell import FilledPage
from atlas_site.text import count, number, prose

#: Units in the table of an image's own page.
_N_FIRST = 20
_N_TOKENS = 2

_HEAD = (
    "<thead><tr><th>unit</th><th>promotes</th>"
    '<th title="z times gradient, in logits of the target word">attribution</th>'
    '<th title="Pre-activation">z</th><th title="Activation">a</th>'
    '<th title="Of the target\'s logit with respect to z">gradient</th>'
    '<th title="Row and column of the patch, from 0 at the top left">patch</th></tr></thead>'
)


def first_attributions(site: Site, base: str, record: ImageRecord) -> str:
    """Show the units that add most to each target word, and lead to the rest."""
    if not record.targets:
        return ""
    shown = "".join(
        f"<h2>What adds to “{prose(target.word)}”</h2>"
        + _table(site, base, _of(record.units, target)[:_N_FIRST], "units, each at its best patch")
        for target in record.targets
    )
    address = base + attributions_address(record.summary.image_id)
    n_rows = len(record.units) + len(record.pairs)
    return f'{shown}<p><a href="{address}">All {count(n_rows)} attributions of this image</a></p>'


def attributions_page(site: Site, record: ImageRecord) -> FilledPage:
    """Make the page of all that is kept of an image's attributions."""
    image = record.summary
    address = attributions_address(image.image_id)
    base = base_of(address)
    tables = "".join(
        f"<h2>The top {count(len(rows))} {what} for “{prose(target.word)}”</h2>"
        + _table(site, base, rows, what)
        for target in record.targets
        for rows, what in (
            (_of(record.units, target), "units, each at its best patch"),
            (_of(record.pairs, target), "pairs of a unit and a patch"),
        )
    )
    own = image_address(image.image_id)
    return FilledPage(
        address=address,
        title=f"Attributions of image {image.image_id}",
        description=f"All units and patches that add to the caption of image {image.image_id}",
        content=(
            trail(base, [(IMAGES_PAGE, "Images"), (own, f"Image {image.image_id}")])
            + f"<h1>Attributions of image {image.image_id}</h1>"
            + f'<p class="na-hint">{hint(base, "attribution", "Attribution")} is z times gradient, '
            "in logits of the target word.</p>" + tables
        ),
    )


def attributed_unit_link(site: Site, base: str, unit: AttributionRecord) -> str | None:
    """Lead to a unit's page, or None where it has none."""
    address = site.uid_link(unit.uid)
    return None if address is None else base + address


def _of(rows: Sequence[AttributionRecord], target: TargetRecord) -> list[AttributionRecord]:
    return [row for row in rows if row.target == target.target]


def _table(site: Site, base: str, rows: Sequence[AttributionRecord], what: str) -> str:
    columns = site.info.grid_columns
    cells = (
        f"<tr><td>{link(attributed_unit_link(site, base, row), row.name, ' class=na-u')}</td>"
        f"<td>{token_chips(row.top_tokens[:_N_TOKENS])}</td>"
        f"<td>{number(row.attribution)}</td><td>{number(row.z)}</td><td>{number(row.a)}</td>"
        f"<td>{number(row.gradient)}</td>"
        f"<td>{row.patch // columns}, {row.patch % columns}</td></tr>"
        for row in rows
    )
    return table(_HEAD, cells, what)
