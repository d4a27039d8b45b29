"""What a unit sees, on its page: its exemplars with heatmaps, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from atlas_db.records import ExemplarRecord, TokenRecord, UnitRecord
from atlas_site.context import Site
from atlas_site.kept import N_TEXTS, kept
from atlas_site.pieces import HEAT_CONTROLS, hint, is_silent, tile, token_chips
from atlas_site.strips import strip_style
from atlas_site.text import count, counted, number, prose

#: Tokens that stand for a unit.
_N_LEAD_TOKENS = 4

#: Words of a caption shown under an exemplar; the image's page has the whole.
_CAPTION_CHARACTERS = 72


def sees(site: Site, base: str, record: UnitRecord) -> str:
    """Show the images in which a unit is most active, and of a gated one those of the least."""
    # Images in which it is not active at all would be no more its own than any others.
    exemplars = [exemplar for exemplar in record.exemplars if exemplar.activation != 0]
    if not exemplars:
        nothing = _sees_nothing(base, record)
        return f'<section class="na-sees"><h2>What it sees</h2>{nothing}</section>'
    tiles = _tiles(site, base, exemplars, [exemplar.heatmap for exemplar in exemplars])
    return (
        f'<section class="na-sees"><h2>What it sees</h2>{HEAT_CONTROLS}{tiles}'
        f'<p class="na-hint">The {counted(len(exemplars), "image")} with its greatest '
        f"{hint(base, 'exemplars', 'activation')}, which is the number below each, before the "
        "caption that the model wrote. Each heatmap runs from its own least to its own greatest "
        f"activation.</p>{_sees_less(site, base, record)}</section>"
    )


def _sees_nothing(base: str, record: UnitRecord) -> str:
    if not is_silent(record.summary):
        return '<p class="na-none">No image was kept for this unit.</p>'
    return (
        f"<p>Nothing: it is {hint(base, 'silent', 'silent')}. Its activation is 0 at each of the "
        f"{count(record.n_patches)} patches of all images. What it says is read off its weights; "
        "no image here makes it say so.</p>"
    )


def _sees_less(site: Site, base: str, record: UnitRecord) -> str:
    """Show where a gated unit is most negative, brightest where it is most so."""
    exemplars = record.negative_exemplars
    if not exemplars:
        return ""
    tiles = _tiles(site, base, exemplars, [255 - exemplar.heatmap for exemplar in exemplars])
    return (
        f'<h3>Most negative</h3><p class="na-lead">{token_chips(_texts(record.suppressed))}</p>'
        f'{tiles}<p class="na-hint">Where a {hint(base, "negative", "gated unit")}\'s activation '
        "is negative, it promotes the tokens that it suppresses elsewhere: these. Each heatmap is "
        "brightest where the activation is least.</p>"
    )


def _texts(tokens: Sequence[TokenRecord]) -> tuple[str, ...]:
    return tuple(token.token for token in tokens[:_N_LEAD_TOKENS])


def _tiles(
    site: Site,
    base: str,
    exemplars: Sequence[ExemplarRecord],
    heatmaps: Sequence[npt.NDArray[np.uint8]],
) -> str:
    tiles = "".join(
        f"<figure>{tile(site, base, exemplar.image_id, index)}<figcaption>"
        f"<b>{number(exemplar.activation)}</b> {_shortened(exemplar.caption)}"
        "</figcaption></figure>"
        for index, exemplar in enumerate(exemplars)
    )
    return f'<div class="na-grid" style="{strip_style(heatmaps, site.grid)}">{tiles}</div>'


@kept(N_TEXTS)
def _shortened(caption: str) -> str:
    if len(caption) > _CAPTION_CHARACTERS:
        caption = caption[: _CAPTION_CHARACTERS - 1].rstrip() + "…"
    return prose(caption)
