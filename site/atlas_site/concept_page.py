"""The page of a concept: the units that promote it, its family, its neighbours."""

from __future__ import annotations

import shlex
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import quote

from atlas_db.queries import SQL_OF
from atlas_db.records import ConceptRecord, ConceptUnit, UnitSummary
from atlas_db.run_format import N_EXEMPLARS
from atlas_site.addresses import CONCEPTS_PAGE, EXPLORE_PAGE, base_of, concept_address
from atlas_site.charts import bars_svg
from atlas_site.context import Site
from atlas_site.first_exemplars import Tile
from atlas_site.pieces import (
    HEAT_CONTROLS,
    badges,
    code_block,
    concept_chip,
    hint,
    is_silent,
    link,
    tile,
    token_chips,
    trail,
)
from atlas_site.shell import FilledPage
from atlas_site.strips import strip_style
from atlas_site.text import counted, number, spell, token_html

#: Units shown with pictures; the rest are lines.
N_PICTURED_UNITS = 8
#: Lines after them; the explore page has the others.
N_LINED_UNITS = 24
_N_TILES = 3

#: Cards of units that are kept, at 4 KB each: those of a whole small atlas, of whose units each
#: stands on many pages; of a large one a few, as concepts of one stem follow one another.
_N_CARDS, _N_CARDS_OF_MANY = 1 << 14, 1 << 10

TilesOf = Callable[[int], Sequence[Tile]]


class UnitCards:
    """The cards of units on the pages of concepts, those shown last kept as they were made.

    Args:
        tiles_of: Gives a unit's first exemplars by its uid.
        n_kept: How many; by default all of a small atlas, few of a large one.
    """

    def __init__(self, site: Site, tiles_of: TilesOf, n_kept: int | None = None) -> None:
        if n_kept is None:
            n_kept = _N_CARDS if site.info.n_units <= _N_CARDS else _N_CARDS_OF_MANY
        self._site, self._tiles_of, self._n_kept = site, tiles_of, n_kept
        self._kept: OrderedDict[int, tuple[str, str]] = OrderedDict()

    def card(self, base: str, row: ConceptUnit) -> str:
        """Show a unit, in how many exemplars a concept is seen and how it is said."""
        uid, kept = row.unit.uid, self._kept
        if uid not in kept:
            kept[uid] = self._parts(base, row.unit)
            if len(kept) > self._n_kept:
                kept.popitem(last=False)
        name, rest = kept[uid]
        return (
            f'<article class="na-card"><header><h3>{name}</h3>'
            f"<small>{_shown(row)}</small></header>{rest}"
        )

    def _parts(self, base: str, unit: UnitSummary) -> tuple[str, str]:
        """Make a card's name, and all that is below its figures."""
        site, strip = self._site, ""
        tiles = () if is_silent(unit) else self._tiles_of(unit.uid)[:_N_TILES]
        if tiles:
            style = strip_style([heatmap for _, heatmap in tiles], site.grid)
            shown = "".join(
                tile(site, base, image_id, index) for index, (image_id, _) in enumerate(tiles)
            )
            strip = f'<div class="na-few na-three" style="{style}">{shown}</div>'
        return (
            link(site.unit_link(base, unit), unit.name, ' class="na-u"'),
            f"{strip}<p>{token_chips(unit.top_tokens[:6])}</p>"
            f'<p class="na-badges">{badges(unit, site.info.n_images)}</p></article>',
        )


def concept_page(site: Site, record: ConceptRecord, cards: UnitCards) -> FilledPage:
    """Make a concept's page."""
    concept = record.summary
    address = concept_address(concept.slug)
    base = base_of(address)
    shown = spell(concept.concept)
    content = (
        trail(base, [(CONCEPTS_PAGE, "Concepts")])
        + f'<h1 class="na-name"><bdi>{token_html(concept.concept)}</bdi></h1>'
        + f'<p class="na-lead">{counted(concept.n_units, "unit")} in '
        + f"{counted(concept.n_layers, 'layer')} {hint(base, 'concept', 'promote it')}.</p>"
        + _near(site, base, record)
        + _units(site, base, record, cards)
        + _yourself(record)
    )
    return FilledPage(
        address=address,
        title=f"“{shown}”: {counted(concept.n_units, 'unit')}",
        description=f"The units that promote the concept “{shown}”",
        content=content,
    )


def _near(site: Site, base: str, record: ConceptRecord) -> str:
    family = " ".join(concept_chip(base, concept.concept, concept) for concept in record.family)
    related = " ".join(
        f'<a class="na-chip" href="{base}{concept_address(near.slug)}">'
        f"<bdi>{token_html(near.concept)}</bdi> <small>{number(near.cosine, 2)}</small></a>"
        for near in record.related
    )
    layers = Counter(row.unit.layer for row in record.units)
    columns = [
        f"<div><h2>{title}</h2><p class='na-chips'>{chips}</p><p class='na-hint'>{note}</p></div>"
        for title, chips, note in (
            (hint(base, "family", "Its family"), family, "Words of the same stem, with units."),
            (
                hint(base, "related", "Related"),
                related,
                "Cosine of the tokens in the model's unembedding.",
            ),
        )
        if chips
    ]
    if layers:
        last = site.info.n_layers - 1
        bars = bars_svg(
            [layers[layer] for layer in range(last + 1)],
            [f"Layer {layer}: {layers[layer]}" for layer in range(last + 1)],
            label="Units by layer",
            ends=("layer 0", f"layer {last}"),
        )
        first, most = layers.most_common(1)[0]
        columns.append(
            f"<div><h2>By layer</h2>{bars}<p class='na-hint'>Units that promote it, at most "
            f"{most} in layer {first}.</p></div>"
        )
    return f'<section class="na-columns na-near">{"".join(columns)}</section>' if columns else ""


def _units(site: Site, base: str, record: ConceptRecord, cards: UnitCards) -> str:
    units = record.units
    pictured = "".join([cards.card(base, row) for row in units[:N_PICTURED_UNITS]])
    rest = units[N_PICTURED_UNITS:][:N_LINED_UNITS]
    lines = "".join([_line(site, base, row) for row in rest])
    more = f'<ul class="na-units na-wide">{lines}</ul>' if lines else ""
    shown = min(len(units), N_PICTURED_UNITS + N_LINED_UNITS)
    left = record.summary.n_units - shown
    words = f"{counted(left, 'unit')} more, and all" if left > 0 else "All"
    address = f"{base}{EXPLORE_PAGE}?word={quote(record.summary.concept)}"
    more += (
        f'<p><a href="{escape(address)}">{words} of them by layer, interpretability and image '
        "frequency</a></p>"
    )
    return (
        f"<section><h2>Units that promote it</h2>"
        f'<p class="na-hint">Sorted by exemplars in which it is '
        f"{hint(base, 'shown', 'seen')}.</p>{HEAT_CONTROLS}"
        f'<div class="na-cards">{pictured}</div>{more}</section>'
    )


def _line(site: Site, base: str, row: ConceptUnit) -> str:
    name = link(site.unit_link(base, row.unit), row.unit.name, ' class="na-u"')
    return (
        f"<li>{name}<span>{token_chips(row.unit.top_tokens[:4])}</span>"
        f"<b>{number(row.prob, 2)}</b></li>"
    )


def _shown(row: ConceptUnit) -> str:
    """Say in how many exemplars it is seen, and how it is said."""
    seen = f"seen in {row.n_shown} of {N_EXEMPLARS}, " if row.n_shown else ""
    return f"{seen}said at rank {row.rank}"


def _yourself(record: ConceptRecord) -> str:
    concept = record.summary.concept
    sql = SQL_OF["concept"].format(concept=concept.replace("'", "''"))
    return (
        '<section class="na-yourself"><h2>Get this yourself</h2><div class="na-columns">'
        f"<div>{code_block(f'neuron-atlas lookup {shlex.quote(concept)}', 'Terminal')}</div>"
        f"<div>{code_block(sql, 'SQL')}</div></div></section>"
    )
