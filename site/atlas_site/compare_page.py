"""Two atlases side by side: their figures, their layers, and the units of the words they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from atlas_db import queries
from atlas_db.connection import Connection, open_atlas
from atlas_db.experiment_records import ExperimentRecord
from atlas_db.records import AtlasInfo, ConceptSummary, LayerRecord
from atlas_site.addresses import concept_address
from atlas_site.charts import bars_svg
from atlas_site.compare_experiments import experiments_section
from atlas_site.pieces import table
from atlas_site.text import count, percent, prose, token_html

#: Words in the table, and in each list of those that one atlas has alone.
_N_SHARED = 80
_N_ALONE = 60

Layers = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two atlases."""

    info: AtlasInfo
    layers: Sequence[LayerRecord]
    concepts: Mapping[str, ConceptSummary]
    layers_of: Callable[[Sequence[str]], Layers]
    experiments: Sequence[ExperimentRecord]

    def share(self, concept: str) -> float:
        """Tell which share of all units promotes a concept."""
        return self.concepts[concept].n_units / max(self.info.n_units, 1)


def read_side(connection: Connection) -> Side:
    """Read what is compared of an atlas; the connection must stay open as long as it is used."""
    total = queries.concepts(connection, limit=1).total
    every = queries.concepts(connection, limit=max(total, 1)).rows
    return Side(
        queries.atlas_info(connection),
        queries.layers(connection),
        {concept.concept: concept for concept in every},
        lambda concepts: queries.concept_layers(connection, concepts),
        queries.experiments(connection),
    )


def compare(connection: Connection, other: Path | None) -> str:
    """Compare the atlas of the site with another; without one, say how that is done.

    Raises:
        AtlasFileError: The other atlas is missing, damaged or of another schema version.
    """
    if other is None:
        return (
            '<div class="admonition note"><p class="admonition-title">One atlas</p><p>This site '
            "was made of one atlas alone. <code>neuron-atlas site --db A.duckdb --compare B.duckdb"
            "</code> sets a second one beside it: another captioner, other weights, other images."
            "</p></div>"
        )
    engine = open_atlas(other)
    try:
        with engine.connect() as second:
            return _page(*_told_apart(read_side(connection), read_side(second)))
    finally:
        engine.dispose()


def _told_apart(first: Side, second: Side) -> tuple[Side, Side]:
    """Add the content's hash to the names of two atlases that have the same."""
    if first.info.name != second.info.name:
        return first, second
    sides = [
        replace(side, info=replace(side.info, name=f"{info.name} {info.content_hash[:6]}"))
        for side in (first, second)
        for info in (side.info,)
    ]
    return sides[0], sides[1]


def _page(first: Side, second: Side) -> str:
    both = (first, second)
    top = max((one.share_of_top_places for side in both for one in side.layers), default=0)
    shared = sorted(
        first.concepts.keys() & second.concepts.keys(),
        key=lambda concept: (-min(first.share(concept), second.share(concept)), concept),
    )
    return (
        _facts(both)
        + '<h2>By layer</h2><p class="na-hint">Share of the places in the images\' top 100, '
        + "both drawn to one scale.</p>"
        + f'<div class="na-columns">{"".join(_layers(side, top) for side in both)}</div>'
        + experiments_section(
            [side.info.name for side in both], [side.experiments for side in both]
        )
        + f"<h2>Words that both write</h2>{_shared(both, shared)}"
        + f'<div class="na-columns">{_alone(first, second, "")}{_alone(second, first, None)}</div>'
    )


def _facts(both: Sequence[Side]) -> str:
    def row(name: str, tell: Callable[[Side], str]) -> str:
        return f"<tr><th>{name}</th>{''.join(f'<td>{tell(side)}</td>' for side in both)}</tr>"

    def on_top(side: Side) -> int:
        return sum(layer.n_top_units for layer in side.layers)

    def readable(side: Side) -> float:
        return sum(layer.n_top_interpretable for layer in side.layers) / max(on_top(side), 1)

    rows = [
        row("Atlas", lambda side: prose(side.info.name)),
        row("Captioner", lambda side: prose(str(side.info.captioner.get("name", "–")))),
        row("Random weights", lambda side: "yes" if side.info.is_random else "no"),
        row("Images", lambda side: count(side.info.n_images)),
        row("Layers", lambda side: count(side.info.n_layers)),
        row("Units", lambda side: count(side.info.n_units)),
        row("Units on top of an image", lambda side: percent(on_top(side) / side.info.n_units)),
        row("Interpretable among those", lambda side: percent(readable(side))),
        row("Concepts", lambda side: count(len(side.concepts))),
        row("Content", lambda side: f"<code>{prose(side.info.content_hash[:12])}</code>"),
    ]
    return (
        '<div class="na-scroll"><table class="na-facts-table na-compared">'
        f"{''.join(rows)}</table></div>"
    )


def _layers(side: Side, top: float) -> str:
    bars = bars_svg(
        [layer.share_of_top_places for layer in side.layers],
        [f"Layer {layer.layer}: {percent(layer.share_of_top_places)}" for layer in side.layers],
        label=f"Layers of {prose(side.info.name)}",
        ends=("layer 0", f"layer {side.info.n_layers - 1}"),
        top=top,
    )
    first = max(side.layers, key=lambda layer: layer.share_of_top_places, default=None)
    said = (
        f'<p class="na-hint">Most in layer {first.layer}: {percent(first.share_of_top_places)}.</p>'
        if first
        else ""
    )
    return f"<div><h3>{prose(side.info.name)}</h3>{bars}{said}</div>"


def _shared(both: Sequence[Side], shared: Sequence[str]) -> str:
    if not shared:
        return '<p class="na-none">No word is promoted in both.</p>'
    shown = shared[:_N_SHARED]
    names = [prose(side.info.name) for side in both]
    head = (
        "<thead><tr><th>word</th>"
        + "".join(f"<th>units of {name}</th>" for name in names)
        + "</tr></thead>"
    )
    found = [side.layers_of(shown) for side in both]
    rows = (_shared_row(both, found, concept) for concept in shown)
    return (
        f'<p class="na-hint">{count(len(shared))} words; below the {count(len(shown))} with the '
        "greatest shares of the units of both. Bars: its units layer by layer.</p>"
        + table(head, rows, "Words that both write")
    )


def _shared_row(both: Sequence[Side], found: Sequence[Layers], concept: str) -> str:
    own = both[0].concepts[concept]
    cells = ""
    for side, layers in zip(both, found, strict=True):
        n_units = side.concepts[concept].n_units
        bars = bars_svg(
            [layers.get(concept, {}).get(n, 0) for n in range(side.info.n_layers)],
            [f"Layer {n}" for n in range(side.info.n_layers)],
            label="Units by layer",
            ends=("", ""),
        )
        cells += (
            f'<td class="na-spark"><div><span>{count(n_units)} '
            f"<small>{percent(side.share(concept))}</small></span>{bars}</div></td>"
        )
    name = f'<a href="{concept_address(own.slug)}"><bdi>{token_html(concept)}</bdi></a>'
    return f"<tr><td>{name}</td>{cells}</tr>"


def _alone(side: Side, other: Side, base: str | None) -> str:
    """List the words of one atlas alone; `base` leads to their pages, if they have any."""
    alone = [one for one in side.concepts.values() if one.concept not in other.concepts]
    alone.sort(key=lambda one: (-one.n_units, one.concept))
    chips = "".join(
        f'<{"span" if base is None else "a"} class="na-chip"'
        + ("" if base is None else f' href="{base}{concept_address(one.slug)}"')
        + f"><bdi>{token_html(one.concept)}</bdi> <small>{count(one.n_units)}</small>"
        + ("</span>" if base is None else "</a>")
        for one in alone[:_N_ALONE]
    )
    return (
        f"<div><h2>Only in {prose(side.info.name)}</h2>"
        f'<p class="na-hint">{count(len(alone))} words, those of most units first.</p>'
        f'<p class="na-chips">{chips}</p></div>'
    )
