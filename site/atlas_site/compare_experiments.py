"""What the same experiments found on two atlases, figure beside figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from atlas_db.experiment_records import ExperimentRecord, FigureRecord
from atlas_site.addresses import REPORT_PAGE
from atlas_site.experiment_figures import value_text
from atlas_site.pieces import table
from atlas_site.text import count, number, prose

#: A longer table is folded.
_N_OPEN_ROWS = 12

Found = Mapping[str, ExperimentRecord]
#: What tells a figure from others of its experiment; layers of two models are not the same.
Key = tuple[str, str, str, int | None]


def experiments_section(names: Sequence[str], both: Sequence[Sequence[ExperimentRecord]]) -> str:
    """Set the figures of each experiment beside each other.

    Args:
        names: Of the two atlases.
        both: The experiments that were run on each.
    """
    found: list[Found] = [{one.name: one for one in side} for side in both]
    order = dict.fromkeys(one.name for side in both for one in side)
    shared = [name for name in order if all(name in side for side in found)]
    shown = "".join(_experiment(name, names, found) for name in shared)
    for name, side in zip(names, found, strict=True):
        shown += _lacking(name, side, order, found)
    if not shown:
        shown = (
            '<p class="na-none">No experiment was run on either. <code>neuron-atlas report</code> '
            "runs them.</p>"
        )
    return f"<h2>What the experiments found</h2>{shown}"


def _experiment(name: str, names: Sequence[str], found: Sequence[Found]) -> str:
    sides = [side[name] for side in found]
    known = sides[0]
    title = f'<h3><a href="{REPORT_PAGE}#{prose(name)}">{prose(known.title)}</a></h3>'
    figures = [_whole(side) for side in sides]
    keys = list(dict.fromkeys(key for side in figures for key in side))
    if not keys:
        return f'{title}<p class="na-hint">It has no figure over all layers.</p>'
    rows = []
    for figure in dict.fromkeys(key[0] for key in keys):
        rows.append(f'<tr><th colspan="3" scope="rowgroup">{prose(figure)}</th></tr>')
        of_it = [key for key in keys if key[0] == figure]
        rows += [_row(key, [side.get(key) for side in figures]) for key in of_it]
    head = "".join(f"<th>{prose(name)}</th>" for name in ("arm", *names))
    shown = table(f"<thead><tr>{head}</tr></thead>", rows, known.title)
    if len(keys) > _N_OPEN_ROWS:
        shown = (
            f'<details class="na-more"><summary>{count(len(keys))} figures</summary>{shown}'
            "</details>"
        )
    return title + shown


def _lacking(name: str, side: Found, order: Iterable[str], found: Sequence[Found]) -> str:
    """List in one place what was run on the other atlas alone."""
    known = {key: one.title for other in found for key, one in other.items()}
    titles = [known[key] for key in order if key not in side]
    if not titles:
        return ""
    items = "".join(f"<li>{prose(title)}</li>" for title in titles)
    return (
        f'<details class="na-more"><summary>Not run on {prose(name)}: {count(len(titles))} of '
        f"{count(len(titles) + len(side))}</summary><ul>{items}</ul>"
        '<p class="na-hint"><code>neuron-atlas report</code> runs them.</p></details>'
    )


def _whole(side: ExperimentRecord) -> dict[Key, FigureRecord]:
    """Give the figures over all layers: single layers of two models are not to be compared."""
    return {
        (one.figure, one.arm, one.part, one.k): one for one in side.figures if one.layer is None
    }


def _row(key: Key, sides: Sequence[FigureRecord | None]) -> str:
    _, arm, part, k = key
    of = ", ".join(filter(None, (arm, part, "" if k is None else f"k = {count(k)}")))
    cells = "".join(f"<td>{_value(one)}</td>" for one in sides)
    return f'<tr><td class="na-cell">{prose(of)}</td>{cells}</tr>'


def _value(one: FigureRecord | None) -> str:
    """Print a figure with its interval; a dash where it is missing, or why it was left out."""
    if one is None:
        return "–"
    if one.is_left_out:
        return f'<span class="na-none" title="{prose(one.note)}">left out</span>'
    shown = f"<b>{value_text(one.value, one.measure)}</b>"
    if one.low is not None and one.high is not None:
        scale, unit = (100, " %") if one.measure == "share" else (1, "")
        interval = f"{number(scale * one.low)} to {number(scale * one.high)}{unit}"
        shown += f" <small>{interval}, n = {count(one.n)}</small>"
    return shown
