"""The pieces that pages share: tokens, tiles with heatmaps, badges, trails, copy buttons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from atlas_db.records import ConceptSummary, UnitSummary
from atlas_site.addresses import METHOD_PAGE, concept_address, image_address, thumbnail_address
from atlas_site.context import ConceptLink, Site
from atlas_site.kept import N_TEXTS, kept
from atlas_site.text import count, number, percent, prose, token_html

#: The side that tiles are laid out with; the browser scales them to their column.
TILE_PX = 224


def link(address: str | None, inner: str, attributes: str = "") -> str:
    """Wrap HTML in a link, or in a span where there is nowhere to go."""
    if address is None:
        return f"<span{attributes}>{inner}</span>"
    return f'<a href="{address}"{attributes}>{inner}</a>'


def token_chips(tokens: Iterable[str]) -> str:
    """Show tokens one after another, each as the model writes it."""
    return " ".join([f"<bdi>{token_html(token)}</bdi>" for token in tokens])


def concept_chip(base: str, concept: str, known: ConceptLink | ConceptSummary) -> str:
    """Link to a concept with its number of units."""
    return (
        f'<a class="na-chip" href="{base}{concept_address(known.slug)}">'
        f"<bdi>{token_html(concept)}</bdi> <small>{count(known.n_units)}</small></a>"
    )


def picture(site: Site, base: str, image_id: int) -> str:
    """Show an image's thumbnail, or its number where the atlas holds none."""
    return _picture(base, image_id, image_id in site.pictures)


@kept(N_TEXTS)
def _picture(base: str, image_id: int, is_kept: bool) -> str:
    if not is_kept:
        return f'<span class="na-nopic">{image_id}</span>'
    return (
        f'<img src="{base}{thumbnail_address(image_id)}" alt="Image {image_id}" '
        f"width={TILE_PX} height={TILE_PX} loading=lazy>"
    )


def tile(site: Site, base: str, image_id: int, index: int) -> str:
    """Show an image under tile `index` of the strip around it; it leads to the image's page."""
    rest = _tile(base, image_id, image_id in site.pictures)
    return f'<a class="na-map" style="--k:{index}"{rest}'


@kept(N_TEXTS)
def _tile(base: str, image_id: int, is_kept: bool) -> str:
    return f' href="{base}{image_address(image_id)}">{_picture(base, image_id, is_kept)}</a>'


def is_silent(unit: UnitSummary) -> bool:
    """Tell whether a unit's activation is 0 wherever it was looked at, as a ReLU's can be."""
    return unit.activation_max == 0


def badges(unit: UnitSummary, n_images: int) -> str:
    """Say in a word what to think of a unit."""
    shown = []
    if unit.is_always_on:
        shown.append(
            '<span class="na-badge na-bad" title="On top of so many images that it says little '
            'about any">always on</span>'
        )
    if unit.is_interpretable:
        shown.append(
            '<span class="na-badge na-good" title="7 of its 10 tokens or more are words">'
            "interpretable</span>"
        )
    else:
        shown.append(
            '<span class="na-badge" title="Fewer than 7 of its 10 tokens are words">'
            "not interpretable</span>"
        )
    if is_silent(unit):
        shown.append(
            '<span class="na-badge" title="Its activation is 0 at every patch of every image">'
            "silent</span>"
        )
    elif unit.n_images == 0:
        shown.append(
            '<span class="na-badge" title="It is in no image\'s top 100">never on top</span>'
        )
    else:
        shown.append(
            f'<span class="na-badge" title="Images in whose top 100 it is">'
            f"{percent(unit.n_images / max(n_images, 1))} of images</span>"
        )
    return "".join(shown)


def trail(base: str, steps: Sequence[tuple[str, str]], turns: str = "") -> str:
    """Say where the page lies: (address from the root, words) for each step above it."""
    items = "".join(f'<li><a href="{base}{address}">{words}</a></li>' for address, words in steps)
    return (
        f'<div class="na-trail"><nav aria-label="Where this page lies"><ol>{items}</ol></nav>'
        f"{turns}</div>"
    )


def turns(base: str, previous: str | None, following: str | None, *, noun: str) -> str:
    """Lead to the neighbours, and to a random unit where the page is a unit's."""
    shown = [
        link(
            None if previous is None else base + previous,
            "‹ previous",
            f' title="Previous {noun} (key p)"',
        )
    ]
    if noun == "unit":
        shown.append(
            '<button type="button" data-random title="A unit of note (key r)">random</button>'
        )
    shown.append(
        link(
            None if following is None else base + following,
            "next ›",
            f' title="Next {noun} (key n)"',
        )
    )
    return f'<nav class="na-turns" aria-label="Neighbours">{"".join(shown)}</nav>'


@kept(1 << 10)
def hint(base: str, anchor: str, words: str) -> str:
    """Link a word to the part of the method page that explains it."""
    return f'<a class="na-why" href="{base}{METHOD_PAGE}#{anchor}">{words}</a>'


def code_block(code: str, label: str) -> str:
    """Show text to be copied; `main.js` adds the button."""
    return (
        f'<p class="na-label">{label}</p>'
        f'<div class="highlight"><pre><code>{escape(code)}</code></pre></div>'
    )


def unit_line(site: Site, base: str, unit: UnitSummary, extra: str = "") -> str:
    """Show a unit in a list: its name, its first tokens and one figure more."""
    name = link(site.unit_link(base, unit), unit.name, ' class="na-u"')
    return f"<li>{name}<span>{token_chips(unit.top_tokens[:4])}</span>{extra}</li>"


def unit_row(site: Site, base: str, unit: UnitSummary) -> str:
    """Show a unit as a table's row (see `unit_head`)."""
    marks = "".join(
        mark
        for held, mark in (
            (unit.is_always_on, '<span class="na-badge na-bad">always on</span>'),
            (unit.is_interpretable, '<span class="na-badge na-good">interpretable</span>'),
        )
        if held
    )
    return (
        f"<tr><td>{link(site.unit_link(base, unit), unit.name, ' class=na-u')}</td>"
        f"<td>{token_chips(unit.top_tokens[:5])}</td><td>{count(unit.n_images)}</td>"
        f"<td>{number(unit.best_attribution)}</td><td>{number(unit.activation_max)}</td>"
        f"<td>{marks}</td></tr>"
    )


def unit_head(base: str) -> str:
    """Head a table of units, each figure leading to what it means."""
    return (
        f"<thead><tr><th>unit</th><th>{hint(base, 'decoding', 'promotes')}</th>"
        f'<th title="Images in whose top 100 it is">{hint(base, "image-frequency", "images")}</th>'
        '<th title="Its greatest attribution to a target word, in logits">'
        f"{hint(base, 'attribution', 'best attribution')}</th>"
        '<th title="Its greatest activation at any patch">'
        f"{hint(base, 'activation', 'max activation')}</th><th>marks</th></tr></thead>"
    )


def table(head: str, rows: Iterable[str], label: str) -> str:
    """Set rows under their head in a table that scrolls by itself on a narrow screen."""
    return (
        f'<div class="na-scroll" tabindex="0" role="region" aria-label="{prose(label)}">'
        f'<table class="na-table">{head}<tbody>{"".join(rows)}</tbody></table></div>'
    )


#: Where `heatmaps.js` puts the choice of how heatmaps are drawn: without it there is none.
HEAT_CONTROLS = '<div class="na-controls"></div>'
