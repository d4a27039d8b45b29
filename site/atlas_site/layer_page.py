"""The page of a layer: how much of it speaks of pictures, a map of its units, the first ones."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from atlas_db.records import LayerRecord, UnitSummary
from atlas_site.addresses import EXPLORE_PAGE, LAYERS_PAGE, base_of, layer_address
from atlas_site.context import Site
from atlas_site.pieces import hint, table, trail, turns, unit_head, unit_row
from atlas_site.shell import FilledPage
from atlas_site.strips import grey_png
from atlas_site.text import count, counted, percent

#: Units listed in a layer's table.
N_LISTED_UNITS = 40


def layer_page(
    site: Site,
    record: LayerRecord,
    units: Sequence[UnitSummary],
    n_images: npt.NDArray[np.float32],
) -> FilledPage:
    """Make a layer's page.

    Args:
        units: Its first units by number of images.
        n_images: For each unit that has a page, in how many images it is on top, shape (n_units,).
    """
    layer = record.layer
    address = layer_address(layer)
    base = base_of(address)
    previous, following = (
        layer_address(near) if near in site.layers else None for near in (layer - 1, layer + 1)
    )
    content = (
        trail(base, [(LAYERS_PAGE, "Layers")], turns(base, previous, following, noun="layer"))
        + f"<h1>Layer {layer}</h1>"
        + f'<dl class="na-stats">{_stats(record)}</dl>'
        + _map(base, layer, n_images)
        + f"<section><h2>First {count(len(units))} units by images</h2>"
        + table(unit_head(base), (unit_row(site, base, unit) for unit in units), f"Layer {layer}")
        + f'<p><a href="{base}{EXPLORE_PAGE}?layer={layer}">All units of this layer, sorted and '
        + "narrowed</a></p>"
        + "</section>"
    )
    return FilledPage(
        address=address,
        title=f"Layer {layer}",
        description=f"{counted(record.n_top_units, 'unit')} of layer {layer} on top of an image",
        content=content,
        previous=previous,
        next=following,
    )


def stat(value: str, words: str) -> str:
    """Show one large figure and what it counts."""
    return f"<div><dd>{value}</dd><dt>{words}</dt></div>"


def _stats(record: LayerRecord) -> str:
    on_top = record.n_top_units
    return (
        stat(count(record.n_units), "units")
        + stat(count(on_top), "are in the top 100 of an image")
        + stat(percent(record.share_of_top_places), "of all places in the images' top 100")
        + stat(percent(record.n_interpretable / max(record.n_units, 1)), "interpretable")
        + stat(
            percent(record.n_top_interpretable / on_top) if on_top else "–",
            "interpretable among those on top",
        )
    )


def _map(base: str, layer: int, n_images: npt.NDArray[np.float32]) -> str:
    """Draw every unit as one cell, brighter the more images it is on top of."""
    if not n_images.size:
        return ""
    width = 2 ** math.ceil(math.log2(math.sqrt(n_images.size)) + 0.5)
    height = math.ceil(n_images.size / width)
    cells = np.zeros(width * height, np.uint8)
    top = math.log1p(max(int(n_images.max()), 1))
    cells[: n_images.size] = np.rint(255 * np.log1p(n_images) / top)
    picture = base64.b64encode(grey_png(cells.reshape(height, width))).decode("ascii")
    return (
        '<section><h2>Every unit</h2><p class="na-hint">Row by row from unit 0, '
        f"{width} a row; the brighter, the more {hint(base, 'image-frequency', 'images')} have it "
        f"among their top 100. Point at one, or open it.</p>"
        f'<a class="na-plane" data-plane data-layer="{layer}" data-width="{width}" '
        f'data-units="{n_images.size}" href="#first" style="--w:{width};--h:{height}">'
        f'<img src="data:image/png;base64,{picture}" width="{width}" height="{height}" '
        f'alt="Map of the {n_images.size} units of layer {layer}">'
        '<output aria-live="polite"></output></a><span id="first"></span></section>'
    )
