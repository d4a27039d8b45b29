"""The report: what each experiment asked of the atlas, what it found and what it left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from atlas_db.experiment_records import ExperimentRecord, FigureRecord, ReplicationRecord
from atlas_site.experiment_figures import drawing, value_text
from atlas_site.pieces import code_block, table
from atlas_site.text import count, number, prose

#: A longer table is folded below its drawing.
_N_OPEN_ROWS = 16
_SETTING_CHARACTERS = 160

_WRAPPED = ("arm", "of", "control", "note")

Column = tuple[str, Callable[[FigureRecord], str]]


def report(experiments: Sequence[ExperimentRecord], replicated: Sequence[ReplicationRecord]) -> str:
    """Show every experiment of an atlas; without any, say which command makes them."""
    if not experiments:
        return (
            '<div class="admonition note"><p class="admonition-title">No experiments yet</p><p>'
            "This atlas was made of a run without experiments. <code>neuron-atlas report RUN --db "
            "atlas.duckdb</code> runs them, and takes what they find into the atlas; RUN is the "
            "folder that <code>neuron-atlas build</code> wrote.</p></div>"
        )
    questions = "".join(
        f'<li><a href="#{prose(one.name)}">{prose(one.title)}</a></li>' for one in experiments
    )
    return (
        f'<ol class="na-questions">{questions}</ol>'
        + "".join(_experiment(one, replicated) for one in experiments)
        + _fetch_it()
    )


def _experiment(one: ExperimentRecord, replicated: Sequence[ReplicationRecord]) -> str:
    left_out = [figure for figure in one.figures if figure.is_left_out]
    known = [figure for figure in one.figures if not figure.is_left_out]
    values = _replication(replicated) if one.name == "replication" else ""
    return (
        f'<section class="na-experiment"><h2 id="{prose(one.name)}">{prose(one.title)}</h2>'
        + drawing(one.name, one.figures)
        + _figures(one, known)
        + values
        + _left_out(left_out)
        + _how(one)
        + "</section>"
    )


def _figures(one: ExperimentRecord, known: Sequence[FigureRecord]) -> str:
    if not known:
        return ""
    control_of = _controls(known)
    columns: list[Column] = [
        ("arm", lambda row: prose(row.arm)),
        ("of", lambda row: prose(row.part)),
        ("layer", lambda row: "" if row.layer is None else str(row.layer)),
        ("k", lambda row: "" if row.k is None else count(row.k)),
        ("value", lambda row: f"<b>{value_text(row.value, row.measure)}</b>"),
        ("95 % interval", _interval),
        ("n", lambda row: count(row.n)),
        ("control", lambda row: _control(row, control_of)),
        ("p", lambda row: "" if row.p_value is None else number(row.p_value, 2)),
        ("note", lambda row: f"<small>{prose(row.note)}</small>" if row.note else ""),
    ]
    columns = [column for column in columns if any(column[1](row) for row in known)]
    head = "".join(f"<th>{name}</th>" for name, _ in columns)
    rows = []
    for (figure, measure), group in groupby(known, key=attrgetter("figure", "measure")):
        unit = f" <small>{prose(measure)}</small>" if measure not in ("", figure) else ""
        rows.append(
            f'<tr><th colspan="{len(columns)}" scope="rowgroup">{prose(figure)}{unit}</th></tr>'
        )
        rows += [_row(columns, row) for row in group]
    shown = table(f"<thead><tr>{head}</tr></thead>", rows, one.title)
    if len(known) <= _N_OPEN_ROWS:
        return shown
    return (
        f'<details class="na-more"><summary>All {count(len(known))} figures</summary>'
        f"{shown}</details>"
    )


def _row(columns: Sequence[Column], row: FigureRecord) -> str:
    cells = (
        f"<td{' class=na-cell' if name in _WRAPPED else ''}>{tell(row)}</td>"
        for name, tell in columns
    )
    return f"<tr>{''.join(cells)}</tr>"


def _controls(known: Sequence[FigureRecord]) -> Mapping[tuple[Any, ...], FigureRecord]:
    return {(row.figure, row.arm, row.part, row.layer, row.k): row for row in known}


def _control(row: FigureRecord, control_of: Mapping[tuple[Any, ...], FigureRecord]) -> str:
    """Show the value to compare with beside the arm that it comes from."""
    if not row.control:
        return ""
    beside = control_of.get((row.figure, row.control, row.part, row.layer, row.k))
    if beside is None:
        return prose(row.control)
    return f"{value_text(beside.value, beside.measure)}<br><small>{prose(row.control)}</small>"


def _interval(row: FigureRecord) -> str:
    if row.low is None or row.high is None:
        return ""
    scale, unit = (100, " %") if row.measure == "share" else (1, "")
    return f"{number(scale * row.low)} to {number(scale * row.high)}{unit}"


def _left_out(figures: Sequence[FigureRecord]) -> str:
    if not figures:
        return ""
    items = "".join(
        f"<li><b>{prose(', '.join(filter(None, (one.figure, one.arm, one.part))))}</b>: "
        f"{prose(one.note) or 'no reason was given.'}</li>"
        for one in figures
    )
    return f'<h3>Left out</h3><ul class="na-left-out">{items}</ul>'


def _how(one: ExperimentRecord) -> str:
    """Say with what an experiment was run."""
    sample = one.settings.get("n_images")
    facts = (
        f"{count(sample)} images" if isinstance(sample, int) else "",
        "" if one.seconds is None else f"{number(one.seconds)} s",
        f"device {one.device}",
        one.created[:10],
    )
    settings = "".join(
        f"<div><dt>{prose(str(key))}</dt><dd>{_setting(value)}</dd></div>"
        for key, value in one.settings.items()
    )
    return (
        '<details class="na-more na-how"><summary>'
        f"{prose(' · '.join(filter(None, facts)))}</summary>"
        f'<dl class="na-facts">{settings}</dl></details>'
    )


def _setting(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(shown) > _SETTING_CHARACTERS:
        shown = shown[: _SETTING_CHARACTERS - 1] + "…"
    return prose(shown)


def _replication(rows: Sequence[ReplicationRecord]) -> str:
    """Set the paper's values beside ours, by section; where there are none, "left out" says why."""
    sections = "".join(
        _replicated(name, list(group)) for name, group in groupby(rows, key=_section_of)
    )
    return f"<h3>Printed values beside ours</h3>{sections}" if sections else ""


def _section_of(row: ReplicationRecord) -> str:
    """Name a row's section; of decoded units each reading is one ("L1.U2, with final norm")."""
    reading = row.item.partition(", ")[2] if row.section == "decoded units" else ""
    return f"{row.section}, {reading}" if reading else row.section


def _replicated(name: str, rows: Sequence[ReplicationRecord]) -> str:
    """Fold a section's rows below how many of them agree."""
    known = [row for row in rows if row.agrees is not None]
    n_agree = sum(row.agrees is True for row in rows)
    parts = (
        f"{count(n_agree)} of {count(len(known))} agree" if known else "",
        f"{count(len(rows) - len(known))} cannot be compared" if len(known) < len(rows) else "",
    )
    said = ", ".join(filter(None, parts))
    words = {True: '<span class="na-badge na-good">yes</span>', None: "–"}
    no = '<span class="na-badge na-bad">no</span>'
    shown = (
        f"<tr><td class=na-cell>{prose(row.item)}</td>"
        f"<td class=na-cell>{prose(row.printed)}</td><td class=na-cell>{prose(row.ours)}</td>"
        f"<td>{words.get(row.agrees, no)}</td>"
        f"<td class=na-cell>{f'<small>{prose(row.note)}</small>' if row.note else ''}</td></tr>"
        for row in rows
    )
    names = ("value", "printed", "ours", "agrees", "note")
    head = "".join(f"<th>{column}</th>" for column in names)
    shown_table = table(f"<thead><tr>{head}</tr></thead>", shown, f"{name}: printed and ours")
    return (
        f'<details class="na-more"><summary><b>{prose(name)}</b>: {said}</summary>'
        f"{shown_table}</details>"
    )


def _fetch_it() -> str:
    sql = "SELECT *\nFROM experiments\nORDER BY experiment, number;"
    return (
        f'<section class="na-yourself"><h2>Get this yourself</h2>{code_block(sql, "SQL")}</section>'
    )
