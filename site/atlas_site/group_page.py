"""A page that units without one of their own share; each has its own place and address on it."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.records import UnitRecord
from atlas_site.addresses import LAYERS_PAGE, SQL_PAGE, base_of, group_address, layer_address
from atlas_site.context import Site
from atlas_site.first_exemplars import N_FIRST
from atlas_site.pieces import HEAT_CONTROLS, badges, tile, token_chips, trail, turns
from atlas_site.shell import FilledPage
from atlas_site.strips import strip_style
from atlas_site.text import count, number, percent

_N_SUPPRESSED = 5


def group_page(site: Site, records: Sequence[UnitRecord]) -> FilledPage:
    """Make the page of some units of one layer, given by rising unit; one at least."""
    first, last = records[0].summary, records[-1].summary
    index = first.unit // site.group
    address = group_address(first.layer, index)
    base = base_of(address)
    last_index = (site.info.units_per_layer - 1) // site.group
    previous, following = (
        None if uid is None else site.uid_link(uid)
        for uid in (records[0].previous_uid, records[-1].next_uid)
    )
    steps = [(LAYERS_PAGE, "Layers")]
    if first.layer in site.layers:
        steps.append((layer_address(first.layer), f"Layer {first.layer}"))
    title = f"L{first.layer}, units {first.unit} to {last.unit}"
    content = (
        trail(base, steps, turns(base, previous, following, noun="unit"))
        + f"<h1>{title}</h1>"
        + f'<p class="na-hint">{count(len(records))} units that are on top of few images or none '
        + f"share this page, {index + 1} of {last_index + 1} of the layer. What the atlas knows "
        + f'beyond this can be had by <a href="{base}{SQL_PAGE}">SQL</a>.</p>'
        + HEAT_CONTROLS
        + "".join(_member(site, base, record) for record in records)
    )
    return FilledPage(
        address=address,
        title=title,
        description=f"{count(len(records))} units of layer {first.layer}",
        content=content,
        previous=previous,
        next=following,
    )


def _member(site: Site, base: str, record: UnitRecord) -> str:
    unit = record.summary
    shown = [one for one in record.exemplars[:N_FIRST] if one.activation != 0]
    tiles = ""
    if shown:
        style = strip_style([exemplar.heatmap for exemplar in shown], site.grid)
        inner = "".join(
            tile(site, base, exemplar.image_id, index) for index, exemplar in enumerate(shown)
        )
        tiles = f'<div class="na-few" style="{style}">{inner}</div>'
    figures = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in (
            ("images", count(unit.n_images)),
            ("best attribution", number(unit.best_attribution)),
            ("max activation", number(unit.activation_max)),
            ("density", percent(record.activation_density)),
            ("write norm", number(record.write_norm)),
        )
    )
    promoted = token_chips(token.token for token in record.promoted)
    suppressed = token_chips(token.token for token in record.suppressed[:_N_SUPPRESSED])
    return (
        f'<section class="na-member" id="U{unit.unit}">{tiles}<div>'
        f'<h2><a class="na-u" href="#U{unit.unit}">{unit.name}</a></h2>'
        f'<p class="na-badges">{badges(unit, site.info.n_images)}</p>'
        f"<p>promotes {promoted}</p><p>suppresses {suppressed}</p>"
        f'<dl class="na-row">{figures}</dl></div></section>'
    )
