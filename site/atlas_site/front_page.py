"""What the atlas adds to the hand-written pages: examples, counts, findings, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas_db.queries import COVERING_UNITS_SQL, SQL_OF, CoveringUnit
from atlas_db.records import AtlasInfo, ConceptSummary, LayerRecord, UnitRecord, UnitSummary
from atlas_db.run_format import N_EXEMPLARS
from atlas_site.addresses import REPORT_PAGE, layer_address
from atlas_site.charts import bars_svg
from atlas_site.context import Site
from atlas_site.layer_page import stat
from atlas_site.pieces import HEAT_CONTROLS, code_block, concept_chip, link, tile, token_chips
from atlas_site.strips import strip_style
from atlas_site.text import count, counted, percent, prose

_N_EXAMPLE_TILES = 3
_N_FEATURED_TILES = 4
_HEATMAPS = "The heatmap shows where in each photograph the unit is active."


def counts(info: AtlasInfo, layers: Sequence[LayerRecord]) -> str:
    """Show the atlas's size in large figures."""
    on_top = sum(layer.n_top_units for layer in layers)
    return (
        '<dl class="na-stats">'
        + stat(count(info.n_units), "units")
        + stat(count(info.n_layers), "layers")
        + stat(count(info.n_images), "images")
        + stat(count(info.n_concepts), "concepts")
        + stat(count(on_top), "units on top of an image")
        + "</dl>"
    )


def examples(
    site: Site, records: Sequence[UnitRecord], covering: Sequence[CoveringUnit] = ()
) -> str:
    """Show units worth seeing, each with its first exemplars.

    Args:
        covering: What chose them, where an experiment looked for units that cover a category.
    """
    if not records:
        return '<p class="na-none">No unit of this atlas is interpretable and often on top.</p>'
    chosen = {one.unit.uid: one for one in covering}
    cards = "".join(_example(site, record, chosen.get(record.summary.uid)) for record in records)
    return f'{_chosen_by(chosen)}{HEAT_CONTROLS}<div class="na-cards na-examples">{cards}</div>'


def _chosen_by(chosen: Mapping[int, CoveringUnit]) -> str:
    """Say how the examples were chosen."""
    if not chosen:
        return (
            '<p class="na-hint">Interpretable, not always on, on top of several images, by their '
            f"mean attribution. {_HEATMAPS}</p>"
        )
    return (
        '<p class="na-hint">For each category the unit that shows it in most of its 16 exemplars, '
        "of those that say it in three tokens or more: the words come from the weights alone, the "
        f'exemplars from the images alone, and <a href="{REPORT_PAGE}#coverage">the report</a> '
        f"counts how often that comes by chance. {_HEATMAPS}</p>"
        '<details class="na-more"><summary>The SQL that chose them</summary>'
        f"{code_block(COVERING_UNITS_SQL, 'SQL')}</details>"
    )


def _example(site: Site, record: UnitRecord, covers: CoveringUnit | None = None) -> str:
    unit = record.summary
    shown = record.exemplars[:_N_EXAMPLE_TILES]
    tiles = ""
    if shown:
        style = strip_style([exemplar.heatmap for exemplar in shown], site.grid)
        inner = "".join(
            tile(site, "", exemplar.image_id, index) for index, exemplar in enumerate(shown)
        )
        tiles = f'<div class="na-few" style="{style}">{inner}</div>'
    name = link(site.unit_link("", unit), unit.name, ' class="na-u"')
    return (
        f'<article class="na-card">{tiles}<p class="na-says-line">'
        f"{token_chips(unit.top_tokens)}</p><header><h3>{name}</h3>"
        f"<small>{_why(unit, covers)}</small></header></article>"
    )


def _why(unit: UnitSummary, covers: CoveringUnit | None) -> str:
    if covers is None:
        return f"{count(unit.n_images)} images"
    return (
        f"<b>{prose(covers.category)}</b> in {covers.n_exemplars} of its {N_EXEMPLARS} images and "
        f"{covers.n_words} of its {len(unit.top_tokens)} tokens"
    )


def featured(site: Site, record: UnitRecord | None) -> str:
    """Show one unit in large: what it sees, and what it says."""
    if record is None or not record.exemplars:
        return ""
    unit = record.summary
    heatmaps = [exemplar.heatmap for exemplar in record.exemplars[:_N_FEATURED_TILES]]
    tiles = "".join(
        tile(site, "", exemplar.image_id, index)
        for index, exemplar in enumerate(record.exemplars[:_N_FEATURED_TILES])
    )
    name = link(site.unit_link("", unit), unit.name, ' class="na-u"')
    return (
        f'<figure class="na-featured"><div class="na-few" '
        f'style="{strip_style(heatmaps, site.grid)}">{tiles}</div>'
        f"<figcaption><span>{name} sees this, and writes</span>"
        f'<span class="na-says-line">{token_chips(unit.top_tokens[:5])}</span>'
        "</figcaption></figure>"
    )


def often(concepts: Sequence[ConceptSummary]) -> str:
    """Show the concepts that most units stand on."""
    chips = " ".join(concept_chip("", concept.concept, concept) for concept in concepts)
    return f'<p class="na-chips">{chips}</p>'


def findings(site: Site, layers: Sequence[LayerRecord], n_always_on: int) -> str:
    """Say what the paper's questions give on this atlas, in sentences with their numbers."""
    info = site.info
    units = max(info.n_units, 1)
    on_top = sum(layer.n_top_units for layer in layers)
    readable = sum(layer.n_interpretable for layer in layers)
    readable_on_top = sum(layer.n_top_interpretable for layer in layers)
    first, last, share = _half(layers)
    bars = bars_svg(
        [layer.share_of_top_places for layer in layers],
        [f"Layer {layer.layer}: {percent(layer.share_of_top_places)}" for layer in layers],
        label="Share of the places in the images' top 100, by layer",
        ends=("layer 0", f"layer {info.n_layers - 1}"),
    )
    where = f"layer {first}" if first == last else f"layers {first} to {last}"
    chart = (
        f'<figure class="na-chart">{bars}<figcaption>Places in the images\' top 100, by '
        "layer</figcaption></figure>"
        if bars
        else ""
    )
    return (
        f'<div class="na-findings">{chart}<ul>'
        f"<li><b>Where.</b> {percent(share)} of the places in the images' top 100 go to "
        f'<a href="{_layer_href(site, first)}">{where}</a> of {info.n_layers}. In GPT-J most went '
        "to layers 5 to 10 of 28.</li>"
        f"<li><b>Few units matter.</b> {count(on_top)} of {count(info.n_units)} units "
        f"({percent(on_top / units)}) are ever in an image's top 100.</li>"
        f"<li><b>Are they words?</b> {percent(readable_on_top / max(on_top, 1))} of those are "
        f"interpretable, against {percent(readable / units)} of all units. The paper found 50 % "
        "among its top units.</li>"
        f"<li><b>Beware.</b> {_always_on(n_always_on)} so many images that it says little about "
        "any of them.</li></ul></div>"
    )


def _always_on(n_units: int) -> str:
    if n_units == 0:
        return "No unit is on top of"
    verb = "is" if n_units == 1 else "are each"
    return f"{counted(n_units, 'unit')}, marked always on, {verb} on top of"


def _layer_href(site: Site, layer: int) -> str:
    return layer_address(layer) if layer in site.layers else "layers.html"


def _half(layers: Sequence[LayerRecord]) -> tuple[int, int, float]:
    """Find the shortest run of layers that holds half of all places: first, last, its share."""
    shares = [layer.share_of_top_places for layer in layers]
    for length in range(1, len(shares) + 1):
        sums = [sum(shares[start : start + length]) for start in range(len(shares) - length + 1)]
        best = max(range(len(sums)), key=sums.__getitem__)
        if sums[best] >= 0.5:
            return layers[best].layer, layers[best + length - 1].layer, sums[best]
    return 0, len(layers) - 1, sum(shares)


def ready_queries(record: UnitRecord) -> str:
    """Show the SQL behind each kind of page, asked of a unit, what it says and what it sees."""
    concepts = [token.concept for token in record.promoted if token.concept]
    places = {
        "layer": record.summary.layer,
        "unit": record.summary.unit,
        "image_id": record.exemplars[0].image_id if record.exemplars else 0,
        "concept": concepts[0].replace("'", "''") if concepts else "",
    }
    return "".join(
        f'<details class="na-more"><summary>{title}</summary>'
        f"{code_block(SQL_OF[key].format(**places), 'SQL')}</details>"
        for key, title in (
            ("unit", f"What a unit says: {record.summary.name}"),
            ("exemplars", "What it sees"),
            ("heatmaps", "Its activation maps"),
            ("concept", "The units of a concept that it promotes"),
            ("image", "The units of the image in which it is most active"),
            ("layer", "The units of its layer"),
        )
    )
