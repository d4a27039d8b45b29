"""What the atlas adds to the explore and category pages: lists by stated SQL, categories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.queries import CATEGORY_UNITS_SQL, CategoryRecord, ListedUnit, StandingUnit, UnitList
from atlas_site.context import Site
from atlas_site.explore_files import FIGURES
from atlas_site.pieces import code_block, hint, link, table, token_chips, unit_line
from atlas_site.text import count, counted, number, percent, prose

_N_CATEGORY_TOKENS = 4


def explore_tool(site: Site) -> str:
    """Make the frame that `explore.js` fills: the choice, the map, the table."""
    figures = "".join(f'<option value="{one.name}">{one.title}</option>' for one in FIGURES)
    layers = "".join(f'<option value="{n}">layer {n}</option>' for n in range(site.info.n_layers))
    return (
        '<div class="na-explore" data-explore><form class="na-filters" role="search" '
        'aria-label="Narrow the units">'
        '<label>promotes the word <input type="search" name="word" autocomplete="off" '
        'autocapitalize="off" spellcheck="false" placeholder="any"></label>'
        f'<label>in <select name="layer"><option value="">all layers</option>{layers}</select>'
        "</label>"
        '<label>on top of at least <input type="number" name="images" min="0" step="1" '
        'placeholder="0"> images</label>'
        '<label><input type="checkbox" name="interpretable" value="1"> interpretable</label>'
        '<label><input type="checkbox" name="hide" value="1"> without always-on</label>'
        f'<label>coloured by <select name="by">{figures}</select></label>'
        '<button type="reset" class="na-button">all units</button></form>'
        '<p class="na-hint" data-said role="status">The map and the table below need JavaScript; '
        "the lists further down do not.</p>"
        '<div class="na-strips" data-strips tabindex="0" role="application" '
        'aria-label="Map of all units: arrow keys move, Enter opens" hidden></div>'
        '<div class="na-picked" data-picked hidden></div>'
        f'<h2 id="table">Table</h2><p class="na-hint">{_what_figures_mean()}</p>'
        "<div data-table></div></div>"
    )


def _what_figures_mean() -> str:
    said = "; ".join(
        f"{hint('', one.anchor, one.title)}: {one.meaning[0].lower()}{one.meaning[1:]}"
        for one in FIGURES
    )
    return f"A column's head sorts by it. {said[0].upper()}{said[1:]}."


def lists(connection: Connection, site: Site) -> str:
    """Show every list that this atlas can answer, each with its statement."""
    shown = []
    for key, one in queries.UNIT_LISTS.items():
        rows = queries.listed_units(connection, one)
        if rows:
            shown.append(_list(site, key, one, rows))
    return f'<div class="na-lists">{"".join(shown)}</div>'


def _list(site: Site, key: str, one: UnitList, rows: Sequence[ListedUnit]) -> str:
    lines = "".join(unit_line(site, "", row.unit, f"<b>{_figure(row.figure)}</b>") for row in rows)
    return (
        f'<section id="{key}"><h3>{one.title}</h3><p class="na-hint">{one.meaning}</p>'
        f'<p class="na-units-head">{one.figure}</p><ul class="na-units">{lines}</ul>'
        f'<details class="na-more"><summary>Its SQL</summary>{code_block(one.sql, "SQL")}'
        "</details></section>"
    )


def _figure(value: float) -> str:
    return count(int(value)) if value == int(value) else number(value)


def category_tables(site: Site, categories: Sequence[CategoryRecord]) -> str:
    """Show every category of the data set with the units that stand for it, or none."""
    if not categories:
        return '<p class="na-none">The data set of this atlas names no categories.</p>'
    found = sum(1 for category in categories if category.units)
    head = "<thead><tr><th>category</th><th>in</th><th>units that stand for it</th></tr></thead>"
    tables = []
    for kind, group in groupby(categories, key=attrgetter("supercategory")):
        rows = (_category_row(site, category) for category in group)
        tables.append(f"<h2>{prose(kind.capitalize() or 'Others')}</h2>{table(head, rows, kind)}")
    return (
        f'<p class="na-found-of"><b>{found}</b> of {counted(len(categories), "category")}'
        f" have units that stand for them.</p>".replace("categorys", "categories")
        + f'<div class="na-categories na-stacked">{"".join(tables)}</div>'
        + f'<details class="na-more"><summary>The SQL of this page</summary>'
        f"{code_block(CATEGORY_UNITS_SQL, 'SQL')}</details>"
    )


def _category_row(site: Site, category: CategoryRecord) -> str:
    name = link(site.concept_link("", category.name), prose(category.name))
    units = "".join(_standing(site, category, one) for one in category.units)
    return (
        f"<tr><td>{name}</td><td>{counted(category.n_images, 'image')}</td>"
        f"<td>{units or '<span class=na-none>none</span>'}</td></tr>"
    )


def _standing(site: Site, category: CategoryRecord, one: StandingUnit) -> str:
    name = link(site.unit_link("", one.unit), one.unit.name, ' class="na-u"')
    return (
        f'<div class="na-standing">{name} {token_chips(one.unit.top_tokens[:_N_CATEGORY_TOKENS])}'
        f"<small>on top of {count(one.n_images)} of {count(category.n_images)} "
        f"({percent(one.share)}; of all images {percent(one.usual)})</small></div>"
    )
