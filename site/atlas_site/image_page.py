"""The page of an image: its caption, the units behind the target word, and where they look."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.experiment_records import AblationRecord
from atlas_db.queries import SQL_OF
from atlas_db.records import AttributionRecord, ImageRecord, TargetRecord
from atlas_site.addresses import IMAGES_PAGE, base_of, image_address
from atlas_site.context import Site
from atlas_site.image_tables import AttributionTables, attributed_unit_link
from atlas_site.measured import ablation_curves
from atlas_site.pieces import (
    HEAT_CONTROLS,
    code_block,
    hint,
    link,
    picture,
    token_chips,
    trail,
    turns,
)
from atlas_site.shell import FilledPage
from atlas_site.strips import mean_heatmap, strip_style
from atlas_site.text import number, percent, prose, web_address

#: Units shown in a target's figure, as the paper's figure shows them, and tokens of each.
_N_FIGURE_UNITS = 5
_N_FIGURE_TOKENS = 2
#: Below what any plain MLP's non-linearity gives (SiLU's least is -0.28): a gated unit that writes
#: the other way.
_TURNED_BELOW = -0.3


def image_page(
    site: Site,
    record: ImageRecord,
    tables: AttributionTables,
    ablations: Sequence[AblationRecord] = (),
) -> FilledPage:
    """Make an image's page, with its ablation curve where one was measured."""
    image = record.summary
    address = image_address(image.image_id)
    base = base_of(address)
    previous, following = (
        None if image_id is None else image_address(image_id)
        for image_id in (record.previous_id, record.next_id)
    )
    content = (
        trail(base, [(IMAGES_PAGE, "Images")], turns(base, previous, following, noun="image"))
        + f'<h1>Image {image.image_id}</h1><div class="na-image">'
        + f"<div>{_targets(site, base, record)}</div>{_said(site, base, record)}</div>"
        + tables.first()
        + ablation_curves(base, ablations, record.targets)
        + _yourself(record)
    )
    return FilledPage(
        address=address,
        title=f"Image {image.image_id}: {image.caption[:60]}",
        description=f"What units see in image {image.image_id}, captioned “{image.caption[:120]}”",
        content=content,
        previous=previous,
        next=following,
    )


def _targets(site: Site, base: str, record: ImageRecord) -> str:
    if not record.targets:
        return (
            f'<div class="na-target"><figure class="na-big">'
            f"{picture(site, base, record.summary.image_id)}</figure>"
            f'<p class="na-caption">{prose(record.summary.caption)}</p>'
            '<p class="na-none">No noun was found in its caption, so no word was attributed.</p>'
            "</div>"
        )
    blocks = "".join(_target(site, base, record, target) for target in record.targets)
    return HEAT_CONTROLS + blocks


def _target(site: Site, base: str, record: ImageRecord, target: TargetRecord) -> str:
    """Draw the paper's figure for one target word."""
    units = [unit for unit in record.units if unit.target == target.target][:_N_FIGURE_UNITS]
    mapped = [unit for unit in units if unit.heatmap is not None and unit.heatmap.size]
    heatmaps = [unit.heatmap for unit in mapped if unit.heatmap is not None]
    signs = [-1 if _is_turned(unit) else 1 for unit in mapped]
    style, big = "", picture(site, base, record.summary.image_id)
    if heatmaps:
        mean = mean_heatmap(
            heatmaps,
            [sign * unit.heatmap_scale for sign, unit in zip(signs, mapped, strict=True)],
            [sign * unit.heatmap_zero for sign, unit in zip(signs, mapped, strict=True)],
        )
        shown = [m if s > 0 else 255 - m for s, m in zip(signs, heatmaps, strict=True)]
        style = f' style="{strip_style([mean, *shown], site.grid)}"'
        big = f'<div class="na-map" style="--k:0">{big}</div>'
    rows = "".join(
        _figure_unit(site, base, record, unit, index + 1) for index, unit in enumerate(units)
    )
    return (
        f'<section class="na-target"{style}><figure class="na-big">{big}'
        f'<figcaption class="na-hint" data-shown>Mean activation of the {len(heatmaps)} units, '
        f"from its least to its greatest{_turned_note(signs)}</figcaption></figure>"
        f'<div class="na-telling"><p class="na-caption">{_caption(record, target)}</p>'
        f'<p class="na-hint">{hint(base, "target", "Target word")} '
        f"<strong>{prose(target.word)}</strong>: logit {number(target.logit)}, probability "
        f"{percent(target.prob)}. The five units that add most to it:</p>"
        f'<ol class="na-five">{rows}</ol></div></section>'
    )


def _is_turned(unit: AttributionRecord) -> bool:
    """Say whether a unit writes the other way here: it adds to the target what it suppresses."""
    return unit.a < _TURNED_BELOW


def _turned_note(signs: Sequence[int]) -> str:
    return "; with the sign turned of those that are negative here" if -1 in signs else ""


def _caption(record: ImageRecord, target: TargetRecord) -> str:
    caption, start = record.summary.caption, target.char_start
    stop = start + len(target.word)
    if caption[start:stop] != target.word:
        return f"{prose(caption)} → <strong>{prose(target.word)}</strong>"
    before, after = prose(caption[:start]), prose(caption[stop:])
    return f"{before}<strong>{prose(target.word)}</strong>{after}"


def _figure_unit(
    site: Site, base: str, record: ImageRecord, unit: AttributionRecord, index: int
) -> str:
    small = picture(site, base, record.summary.image_id)
    if unit.heatmap is not None and unit.heatmap.size:
        small = f'<span class="na-map" style="--k:{index}">{small}</span>'
    name = link(attributed_unit_link(site, base, unit), unit.name, ' class="na-u"')
    turned = ""
    if _is_turned(unit):
        why = hint(base, "negative", f"activation {number(unit.a)}")
        turned = f"; {why}: here it promotes what it suppresses elsewhere, not these"
    return (
        f'<li data-tile="{index}">{small}<div>{name}'
        f"<span>{token_chips(unit.top_tokens[:_N_FIGURE_TOKENS])}</span>"
        f"<small>attribution {number(unit.attribution)}{turned}</small></div></li>"
    )


def _said(site: Site, base: str, record: ImageRecord) -> str:
    captions = "".join(f"<li>{prose(caption)}</li>" for caption in record.human_captions)
    categories = "".join(
        link(site.concept_link(base, category), prose(category), ' class="na-chip"')
        for category in record.summary.categories
    )
    return (
        "<aside><section><h2>What people said</h2>"
        + (f"<ul>{captions}</ul>" if captions else '<p class="na-none">No caption is known.</p>')
        + "</section><section><h2>What is in it</h2>"
        + (
            f'<p class="na-chips">{categories}</p>'
            if categories
            else '<p class="na-none">No object was marked.</p>'
        )
        + f"</section><section><h2>The photograph</h2>{_source(record)}</section></aside>"
    )


def _source(record: ImageRecord) -> str:
    licence = prose(record.licence_name) or "not stated"
    address = web_address(record.licence_url)
    if address:
        licence = f'<a href="{address}" rel="license noopener">{licence}</a>'
    sources = [
        f'<a href="{address}" rel="noopener">{name}</a>'
        for name, address in (
            ("where it comes from", web_address(record.source_url)),
            ("full size", web_address(record.coco_url)),
        )
        if address
    ]
    return (
        f'<dl class="na-facts"><div><dt>File</dt><dd>{prose(record.summary.file)}</dd></div>'
        f"<div><dt>Size</dt><dd>{record.width_px} × {record.height_px} px</dd></div>"
        f"<div><dt>Licence</dt><dd>{licence}</dd></div>"
        f"<div><dt>Source</dt><dd>{' · '.join(sources) or 'not stated'}</dd></div></dl>"
    )


def _yourself(record: ImageRecord) -> str:
    image_id = record.summary.image_id
    sql = SQL_OF["image"].format(image_id=image_id)
    return (
        '<section class="na-yourself"><h2>Get this yourself</h2><div class="na-columns">'
        f"<div>{code_block(f'/api/v1/images/{image_id}', 'API')}</div>"
        f"<div>{code_block(f'neuron-atlas image {image_id}', 'Terminal')}</div>"
        f"<div>{code_block(sql, 'SQL')}</div></div></section>"
    )
