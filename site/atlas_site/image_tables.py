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
from atlas_site.kept import N_LISTS, kept
from atlas_site.pieces import hint, link, table, token_chips, trail
from atlas_site.shell import FilledPage
from atlas_site.text import count, number, prose

#: Units in the table of an image's own page.
_N_FIRST = 20
_N_TOKENS = 2

_UNITS = "units, each at its best patch"
_PAIRS = "pairs of a unit and a patch"
_HEAD = (
    "<thead><tr><th>unit</th><th>promotes</th>"
    '<th title="z times gradient, in logits of the target word">attribution</th>'
    '<th title="Pre-activation">z</th><th title="Activation">a</th>'
    '<th title="Of the target\'s logit with respect to z">gradient</th>'
    '<th title="Row and column of the patch, from 0 at the top left">patch</th></tr></thead>'
)


class AttributionTables:
    """The tables of an image: its own page begins them, the page beside it has them whole."""

    def __init__(self, site: Site, record: ImageRecord) -> None:
        self._record = record
        self._base = base_of(attributions_address(record.summary.image_id))
        # The rows of both pages are the same: both lie at the same depth.
        self._units, self._pairs = (
            [_rows(site, self._base, _of(rows, target)) for target in record.targets]
            for rows in (record.units, record.pairs)
        )

    def first(self) -> str:
        """Show the units that add most to each target word, and lead to the rest."""
        record = self._record
        if not record.targets:
            return ""
        shown = "".join(
            f"<h2>What adds to “{prose(target.word)}”</h2>{table(_HEAD, rows[:_N_FIRST], _UNITS)}"
            for target, rows in zip(record.targets, self._units, strict=True)
        )
        address = self._base + attributions_address(record.summary.image_id)
        n_rows = len(record.units) + len(record.pairs)
        return (
            f"{shown}{_meaning(self._base)}"
            f'<p><a href="{address}">All {count(n_rows)} attributions of this image</a></p>'
        )

    def page(self) -> FilledPage:
        """Make the page of all that is kept of an image's attributions."""
        image, base = self._record.summary, self._base
        tables = "".join(
            f"<h2>The top {count(len(rows))} {what} for “{prose(target.word)}”</h2>"
            + table(_HEAD, rows, what)
            for target, *both in zip(self._record.targets, self._units, self._pairs, strict=True)
            for rows, what in zip(both, (_UNITS, _PAIRS), strict=True)
        )
        own = image_address(image.image_id)
        return FilledPage(
            address=attributions_address(image.image_id),
            title=f"Attributions of image {image.image_id}",
            description=f"All units and patches that add to the caption of image {image.image_id}",
            content=(
                trail(base, [(IMAGES_PAGE, "Images"), (own, f"Image {image.image_id}")])
                + f"<h1>Attributions of image {image.image_id}</h1>{_meaning(base)}{tables}"
            ),
        )


def _meaning(base: str) -> str:
    """Say what the columns are."""
    return (
        f'<p class="na-hint">{hint(base, "attribution", "Attribution")}: z times gradient, in '
        f"logits of the target word. z: the pre-activation; a: the "
        f"{hint(base, 'activation', 'activation')}; gradient: that of the target's logit with "
        "respect to z. Patch: its row and column, from 0 at the top left.</p>"
    )


def attributed_unit_link(site: Site, base: str, unit: AttributionRecord) -> str | None:
    """Lead to a unit's page, or None where it has none."""
    address = site.uid_link(unit.uid)
    return None if address is None else base + address


def _of(rows: Sequence[AttributionRecord], target: TargetRecord) -> list[AttributionRecord]:
    return [row for row in rows if row.target == target.target]


def _rows(site: Site, base: str, rows: Sequence[AttributionRecord]) -> list[str]:
    columns = site.info.grid_columns
    return [
        f"<tr>{_unit_cells(attributed_unit_link(site, base, row), row.name, row.top_tokens)}"
        f"<td>{number(row.attribution)}</td><td>{number(row.z)}</td><td>{number(row.a)}</td>"
        f"<td>{number(row.gradient)}</td>"
        f"<td>{row.patch // columns}, {row.patch % columns}</td></tr>"
        for row in rows
    ]


@kept(N_LISTS)
def _unit_cells(address: str | None, name: str, tokens: tuple[str, ...]) -> str:
    return (
        f"<td>{link(address, name, ' class=na-u')}</td><td>{token_chips(tokens[:_N_TOKENS])}</td>"
    )
