"""The page of a unit: what it says, what it sees, how much to believe it, where to go next."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.experiment_records import TextExemplarRecord, UnitFigures
from atlas_db.queries import SQL_OF
from atlas_db.records import TokenRecord, UnitRecord, UnitSummary, unit_name
from atlas_site.addresses import LAYERS_PAGE, base_of, layer_address, unit_address
from atlas_site.charts import histogram_svg
from atlas_site.context import Site
from atlas_site.measured import measured
from atlas_site.pieces import (
    badges,
    code_block,
    concept_chip,
    hint,
    is_silent,
    link,
    picture,
    token_chips,
    trail,
    turns,
    unit_line,
)
from atlas_site.shell import FilledPage
from atlas_site.text import count, counted, number, percent, prose, spell, token_html
from atlas_site.unit_exemplars import sees

#: Tokens that stand for a unit.
_N_LEAD_TOKENS = 4

#: Images that a unit matters for, of those that are kept.
_N_IMAGES = 8

#: What a share of the patches is called.
PERCENTILES = {"0.5": "median", "0.9": "90th", "0.95": "95th", "0.99": "99th"}

#: Below both lists of tokens.
_DECODED = (
    '<p class="na-hint">Probabilities by its weights alone. One unit moves a whole vocabulary '
    "little: what counts is which tokens come first.</p>"
)


def unit_page(
    site: Site,
    record: UnitRecord,
    figures: UnitFigures | None = None,
    texts: Sequence[TextExemplarRecord] = (),
) -> FilledPage:
    """Make a unit's page, with what experiments say of it, if any did."""
    unit = record.summary
    address = unit_address(unit.layer, unit.unit)
    base = base_of(address)
    previous, following = (
        None if uid is None else site.uid_link(uid)
        for uid in (record.previous_uid, record.next_uid)
    )
    steps = [(LAYERS_PAGE, "Layers")]
    if unit.layer in site.layers:
        steps.append((layer_address(unit.layer), f"Layer {unit.layer}"))
    content = (
        trail(base, steps, turns(base, previous, following, noun="unit"))
        + f'<div class="na-title"><h1 class="na-name">{unit.name}</h1>'
        + f'<p class="na-lead">{token_chips(unit.top_tokens[:_N_LEAD_TOKENS])}</p>'
        + f'<p class="na-badges">{badges(unit, site.info.n_images)}</p></div>'
        + f'<div class="na-unit">{_says(site, base, record)}{sees(site, base, record)}'
        + f"{_believe(site, base, record)}</div>"
        + measured(base, figures, texts)
        + _next(site, base, record)
        + _yourself(site, record)
    )
    words = ", ".join([spell(token.removeprefix(" ")) for token in unit.top_tokens[:5]])
    return FilledPage(
        address=address,
        title=f"{unit.name}: {words}",
        description=f"{unit.name} promotes {words}; in the top 100 of {unit.n_images} images",
        content=content,
        previous=previous,
        next=following,
    )


def _says(site: Site, base: str, record: UnitRecord) -> str:
    top = max((token.prob for token in (*record.promoted, *record.suppressed)), default=1.0)
    return (
        '<section class="na-says"><h2>What it says</h2>'
        f"<h3>{hint(base, 'decoding', 'Promotes')}</h3>"
        f"{_token_bars(site, base, record.promoted, top)}"
        f"<h3>Suppresses</h3>"
        f"{_token_bars(site, base, record.suppressed, top, ' na-down')}{_DECODED}</section>"
    )


def _token_bars(
    site: Site, base: str, tokens: tuple[TokenRecord, ...], top: float, kind: str = ""
) -> str:
    rows = "".join(
        [
            f'<li style="--w:{token.prob / top:.3f}">'
            f"{link(site.concept_link(base, token.concept), token_html(token.token))}"
            f"<b>{number(token.prob, 2)}</b></li>"
            for token in tokens
        ]
    )
    return f'<ol class="na-tokens{kind}">{rows}</ol>'


def _figure(value: str, name: str, explained: str, share: float | None = None) -> str:
    bar = "" if share is None else f'<i style="--w:{share:.3f}"></i>'
    return f"<div><dt>{name}</dt><dd><b>{value}</b>{bar}<small>{explained}</small></dd></div>"


def _believe(site: Site, base: str, record: UnitRecord) -> str:
    unit, n_images = record.summary, site.info.n_images
    share = unit.n_images / max(n_images, 1)
    figures = [
        _figure(
            f"{count(unit.n_images)} of {count(n_images)}",
            hint(base, "image-frequency", "Images"),
            "have it among their top 100 units"
            + (": too many to mean anything" if unit.is_always_on else ""),
            share,
        ),
        _figure(
            number(unit.best_attribution),
            hint(base, "attribution", "Best attribution"),
            f"logits of a target word, at one patch; {number(unit.mean_attribution)} on average "
            "over those images"
            if unit.best_attribution is not None
            else "it is in no image's top 100",
        ),
        _figure(
            f"{unit.n_dictionary_words} of {len(record.promoted)}",
            hint(base, "interpretable", "Dictionary words"),
            "among its promoted tokens; 7 make it interpretable",
        ),
        _figure(
            percent(record.activation_density),
            hint(base, "density", "Density"),
            f"of {count(record.n_patches)} patches activate it above 0",
            record.activation_density,
        ),
        _figure(
            number(record.write_norm),
            hint(base, "write-norm", "Write norm"),
            "length of the vector that it writes",
        ),
    ]
    return (
        '<section class="na-believe"><h2>How much to believe it</h2>'
        f'<dl class="na-figures">{"".join(figures)}</dl>{_activations(base, record)}</section>'
    )


def _activations(base: str, record: UnitRecord) -> str:
    values = [("mean", record.activation_mean)]
    values += [
        (PERCENTILES.get(key, key), value) for key, value in record.activation_quantiles.items()
    ]
    values.append(("max", record.summary.activation_max))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{number(value, 2)}</dd></div>" for name, value in values
    )
    if is_silent(record.summary):
        return ""
    return (
        f"<h3>{hint(base, 'activation', 'Activation')} over all patches</h3>"
        f"{histogram_svg(record.histogram, record.activation_quantiles)}"
        f'<dl class="na-row">{cells}</dl>'
        '<p class="na-hint">Both axes are logarithmic away from 0; lines mark the percentiles.</p>'
    )


def _next(site: Site, base: str, record: UnitRecord) -> str:
    similar = "".join(
        unit_line(site, base, near.unit, f"<b>{number(near.cosine, 2)}</b>")
        for near in record.similar
    )
    return (
        '<section class="na-next"><h2>Where to go next</h2><div class="na-columns">'
        f"<div><h3>{hint(base, 'similar', 'Similar units')}</h3>"
        + (
            f'<ul class="na-units">{similar}</ul>'
            '<p class="na-hint">Cosine of the write vectors.</p>'
            if similar
            else '<p class="na-none">None were kept.</p>'
        )
        + f"</div><div><h3>Units with the same words</h3>{_concepts(site, base, record)}</div>"
        f"<div><h3>Images that it matters for</h3>{_images(site, base, record)}</div>"
        "</div></section>"
    )


def _concepts(site: Site, base: str, record: UnitRecord) -> str:
    concepts = dict.fromkeys([token.concept for token in record.promoted])
    chips = "".join(
        [
            concept_chip(base, concept, known)
            for concept in concepts
            if concept is not None and (known := site.concepts.get(concept)) is not None
        ]
    )
    return (
        f'<p class="na-chips">{chips}</p><p class="na-hint">With the number of units '
        "that promote each word.</p>"
        if chips
        else '<p class="na-none">No token of it is a word.</p>'
    )


def _images(site: Site, base: str, record: UnitRecord) -> str:
    if not record.images:
        return '<p class="na-none">It is in no image\'s top 100.</p>'
    rows = "".join(
        f'<li><a href="{site.image_link(base, image.image_id)}">'
        f"{picture(site, base, image.image_id)}<span>{prose(image.target_word)}</span></a>"
        f"<b>{number(image.attribution, 2)}</b></li>"
        for image in record.images[:_N_IMAGES]
    )
    more = record.summary.n_images - min(len(record.images), _N_IMAGES)
    note = f" {counted(more, 'image')} more." if more > 0 else ""
    return (
        f'<ul class="na-pics">{rows}</ul><p class="na-hint">The target word of each and the '
        f"unit's attribution to it, in logits.{note}</p>"
    )


def _yourself(site: Site, record: UnitRecord) -> str:
    unit = record.summary
    return (
        '<section class="na-yourself"><h2>Get this yourself</h2><div class="na-columns">'
        f"<div>{code_block(f'/api/v1/units/{unit.layer}/{unit.unit}', 'API')}"
        f"{code_block(f'neuron-atlas unit {unit.name}', 'Terminal')}</div>"
        f"<div>{code_block(_sql(unit), 'SQL')}</div>"
        f"<div>{code_block(_citation(site, unit), 'Cite')}"
        '<p><button type="button" class="na-button" data-permalink>Copy link to this page</button>'
        "</p></div></div></section>"
    )


def _sql(unit: UnitSummary) -> str:
    return SQL_OF["unit"].format(layer=unit.layer, unit=unit.unit)


def _citation(site: Site, unit: UnitSummary) -> str:
    info = site.info
    return (
        f"{unit_name(unit.layer, unit.unit)}. Neuron atlas “{info.name}”, "
        f"content {info.content_hash[:12]}, {info.created[:10]}."
    )
