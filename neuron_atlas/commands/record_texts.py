"""Records as text for a terminal: a concept, a unit, an image, the tables of SQL."""

from __future__ import annotations

from collections.abc import Sequence

import click

from atlas_db.records import (
    AttributionRecord,
    ConceptRecord,
    ImageRecord,
    TableRecord,
    TokenRecord,
    UnitRecord,
    UnitSummary,
)
from neuron_atlas.commands.terminal import bar, number, percent, quoted, table, visible

_TOP_TOKENS = 5
_TOP_UNITS = 10
#: Terminal columns of a sentence that is shown whole.
_SENTENCE = 120


def concept_text(record: ConceptRecord) -> str:
    """Show a concept: the units that promote it, its family, what lies near."""
    summary = record.summary
    rows = [
        (
            item.unit.name,
            quoted(item.token),
            str(item.rank),
            percent(item.prob),
            str(item.n_shown),
            str(item.unit.n_images),
            _marks(item.unit),
            _tokens(item.unit.top_tokens),
        )
        for item in record.units
    ]
    head = ("unit", "token", "rank", "prob", "shown", "images", "", "says")
    parts = [
        f"{_title(summary.concept)}  {_count(summary.n_units, 'unit')} "
        f"in {_count(summary.n_layers, 'layer')}",
        table(head, rows, right=(2, 3, 4, 5)),
    ]
    if len(record.units) < summary.n_units:
        parts.append(f"{len(record.units)} units are shown: raise --limit to see more.")
    if record.family:
        family = ", ".join(f"{visible(c.concept)} ({c.n_units})" for c in record.family)
        parts.append(f"Same stem: {family}. See their units with --match family.")
    if record.related:
        near = ", ".join(f"{visible(c.concept)} ({c.cosine:.2f})" for c in record.related)
        parts.append(f"Near it in the model's unembedding: {near}.")
    return "\n\n".join(parts)


def unit_text(record: UnitRecord) -> str:
    """Show a unit: what it says, what it sees, how much to believe it, where to go next."""
    summary = record.summary
    parts = [
        f"{_title(summary.name)}  {_marks(summary)}".rstrip(),
        _facts(record),
        _token_table("promotes", record.promoted),
        _token_table("suppresses", record.suppressed),
    ]
    shown = (
        (record.exemplars, "most active in"),
        (record.negative_exemplars, "most negative in: promotes what it suppresses"),
    )
    for exemplars, what in shown:
        rows = [
            (str(e.rank), str(e.image_id), number(e.activation), str(e.patch), e.caption)
            for e in exemplars
        ]
        if rows:
            names = ("rank", "image", "activation", "patch", what)
            parts.append(table(names, rows, right=(0, 1, 2, 3)))
    if record.images:
        spoken = [
            (str(i.image_id), i.target_word, str(i.rank), number(i.attribution))
            for i in record.images
        ]
        head = ("image", "in the top 100 for", "rank", "attribution")
        parts.append(table(head, spoken, right=(0, 2, 3)))
    if record.similar:
        near = [
            (s.unit.name, f"{s.cosine:.2f}", _tokens(s.unit.top_tokens)) for s in record.similar
        ]
        parts.append(table(("similar", "cosine", "says"), near, right=(1,)))
    return "\n\n".join(parts)


def image_text(record: ImageRecord) -> str:
    """Show an image: what the model said of it, and which units made it say so."""
    summary = record.summary
    parts = [
        f"{_title(f'image {summary.image_id}')}  {visible(summary.file)}  "
        f"{record.width_px} x {record.height_px}",
        f"The model:  {_marked_caption(record)}",
    ]
    if record.human_captions:
        people = "\n".join(f"  {visible(caption)}" for caption in record.human_captions)
        parts.append(f"People:\n{people}")
    if summary.categories:
        parts.append(f"Shows:  {', '.join(visible(name) for name in summary.categories)}")
    for target in record.targets:
        units = [unit for unit in record.units if unit.target == target.target]
        about = f"Target {quoted(target.word)}  {percent(target.prob)}"
        parts.append(f"{about}\n{_unit_table(units[:_TOP_UNITS])}")
    parts.append(f"Licence:  {visible(record.licence_name or 'not stated')}  {record.licence_url}")
    return "\n\n".join(parts)


def tables_text(tables: Sequence[TableRecord]) -> str:
    """List tables: how many rows each has, and what one is."""
    rows = [
        (one.table, "view" if one.n_rows is None else f"{one.n_rows:,}", one.about)
        for one in tables
    ]
    return table(("table", "rows", "one row is"), rows, right=(1,), most=_SENTENCE)


def columns_text(record: TableRecord) -> str:
    """Show a table's columns and what they hold."""
    rows = [(column.name, column.type, column.about) for column in record.columns]
    columns = table(("column", "type", "holds"), rows, most=_SENTENCE)
    return f"{_title(record.table)}  {record.about}\n\n{columns}"


def _marked_caption(record: ImageRecord) -> str:
    """Show the model's caption with its targets in bold."""
    caption, text, start = record.summary.caption, "", 0
    for target in sorted(record.targets, key=lambda one: one.char_start):
        if target.char_start < start:
            continue  # a second target on the same word
        end = target.char_start + len(target.word)
        word = click.style(visible(caption[target.char_start : end]), bold=True)
        text += visible(caption[start : target.char_start]) + word
        start = end
    return text + visible(caption[start:])


def _facts(record: UnitRecord) -> str:
    summary = record.summary
    quantiles = ", ".join(
        f"{percent(float(share))}: {number(value)}"
        for share, value in record.activation_quantiles.items()
    )
    return "\n".join(
        [
            f"In the top 100 of {_count(summary.n_images, 'image')} "
            f"({percent(summary.image_frequency)}).",
            f"Attribution: best {number(summary.best_attribution)}, "
            f"mean {number(summary.mean_attribution)} logits.",
            f"Activation: mean {number(record.activation_mean)}, "
            f"greatest {number(summary.activation_max)}, "
            f"above 0 at {percent(record.activation_density)} of {record.n_patches} patches; "
            f"quantiles {quantiles}.",
            f"{summary.n_dictionary_words} of its {len(record.promoted)} promoted tokens are "
            f"dictionary words. Norm of its write vector: {number(record.write_norm)}.",
        ]
    )


def _token_table(verb: str, tokens: Sequence[TokenRecord]) -> str:
    # In a vocabulary of thousands no token has a share of 1 that could be seen.
    most = max((t.prob for t in tokens), default=1.0) or 1.0
    rows = [(quoted(t.token), percent(t.prob), number(t.logit), bar(t.prob / most)) for t in tokens]
    return table((verb, "prob", "logit", ""), rows, right=(1, 2))


def _unit_table(units: Sequence[AttributionRecord]) -> str:
    rows = [
        (
            str(u.rank),
            u.name,
            number(u.attribution),
            number(u.z),
            number(u.gradient),
            str(u.patch),
            _tokens(u.top_tokens),
        )
        for u in units
    ]
    head = ("rank", "unit", "attribution", "z", "gradient", "patch", "says")
    return table(head, rows, right=(0, 2, 3, 4, 5))


def _tokens(tokens: Sequence[str]) -> str:
    return " ".join(quoted(token) for token in tokens[:_TOP_TOKENS])


def _marks(unit: UnitSummary) -> str:
    marks = []
    if unit.is_interpretable:
        marks.append("interpretable")
    if unit.is_always_on:
        marks.append("always on")
    return ", ".join(marks)


def _title(text: str) -> str:
    return click.style(visible(text), bold=True)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
