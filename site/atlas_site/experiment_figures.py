"""Drawings of an experiment, chosen by what its figures are over: k, arms, or layers."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.experiment_records import FigureRecord
from atlas_site.experiment_charts import Point, curves_svg, intervals_svg
from atlas_site.text import count, number, prose

#: Rows of a chart of intervals; the table has them all.
_N_ROWS = 14
#: Charts by layer; the table has all figures.
_N_LAYER_CHARTS = 2
#: The figure that answers the question, where it is not the first.
_SHOWN = {"ablation": "relative drop of p(target)"}


def drawing(name: str, figures: Sequence[FigureRecord]) -> str:
    """Draw the figure that says most of an experiment, and what it says layer by layer.

    Empty where there is nothing to draw.
    """
    known = [figure for figure in figures if not figure.is_left_out]
    by_layer = _layer_drawings(known)
    if known and known[0].layer is not None and by_layer:
        return by_layer
    whole = [figure for figure in known if figure.layer is None]
    chosen = [figure for figure in whole if figure.figure == _SHOWN.get(name)]
    for candidates in (chosen, whole):
        for draw in (_curves, _intervals):
            svg, said = draw(candidates)
            if svg:
                return _framed(svg, said) + by_layer
    return by_layer


def _framed(svg: str, said: str) -> str:
    return (
        f'<figure class="na-chart na-experiment-chart">{svg}'
        f"<figcaption>{prose(said)}</figcaption></figure>"
    )


def point_of(figure: FigureRecord) -> Point:
    """Give what is drawn of a figure that was not left out."""
    assert figure.value is not None
    return Point(figure.value, figure.low, figure.high)


def value_text(value: float | None, measure: str) -> str:
    """Print a figure: shares as percentages, whole numbers whole."""
    if value is not None and measure == "share":
        return f"{number(100 * value)} %"
    if value is not None and value == int(value) and abs(value) < 1e15:
        return count(int(value)).replace("-", "−")
    return number(value)


def _first(figures: Sequence[FigureRecord]) -> tuple[str, list[FigureRecord]]:
    """Take the first figure's name, and all of that name."""
    if not figures:
        return "", []
    name = figures[0].figure
    return name, [figure for figure in figures if figure.figure == name]


def _said(name: str, figures: Sequence[FigureRecord], rest: str) -> str:
    measure = figures[0].measure if figures else ""
    return f"{name}{f' ({measure})' if measure and measure != name else ''}{rest}"


def _curves(figures: Sequence[FigureRecord]) -> tuple[str, str]:
    name, chosen = _first([one for one in figures if one.k is not None and not one.part])
    shown = curves_svg(_lines(chosen, "k"), label=f"{name} by k", along="k units")
    return shown, _said(name, chosen, ", by k; bands are 95 % intervals.")


def _layer_drawings(figures: Sequence[FigureRecord]) -> str:
    """Draw the first figures that are of layers, each part of the data by itself."""
    groups: dict[tuple[str, str], list[FigureRecord]] = {}
    for one in figures:
        if one.layer is not None:
            groups.setdefault((one.figure, one.part), []).append(one)
    drawn = []
    for (name, part), chosen in groups.items():
        named = f"{name}, {part}" if part else name
        svg = curves_svg(_lines(chosen, "layer"), label=f"{named} by layer", along="layer")
        if svg:
            drawn.append(_framed(svg, _said(named, chosen, ", by layer.")))
    return "".join(drawn[:_N_LAYER_CHARTS])


def _lines(figures: Sequence[FigureRecord], along: str) -> dict[str, dict[int, Point]]:
    """Give each arm its points over k or layers; one point is no line."""
    lines: dict[str, dict[int, Point]] = {}
    for one in figures:
        lines.setdefault(one.arm or "all", {})[getattr(one, along)] = point_of(one)
    return {arm: line for arm, line in lines.items() if len(line) > 1}


def _intervals(figures: Sequence[FigureRecord]) -> tuple[str, str]:
    for name in dict.fromkeys(one.figure for one in figures):
        chosen = [one for one in figures if one.figure == name]
        if len(chosen) > 1:
            shown = chosen[:_N_ROWS]
            rows = [
                (_row_name(one), value_text(one.value, one.measure), point_of(one)) for one in shown
            ]
            more = f" The first {len(shown)} of {len(chosen)}." if len(shown) < len(chosen) else ""
            has_lines = any(one.low is not None for one in shown)
            rest = f"{'; lines are 95 % intervals' if has_lines else ''}.{more}"
            is_share = all(one.measure == "share" for one in shown)
            drawn = intervals_svg(rows, label=name, is_share=is_share)
            return drawn, _said(name, chosen, rest)
    return "", ""


def _row_name(figure: FigureRecord) -> str:
    parts = [figure.arm, figure.part, "" if figure.k is None else f"k = {figure.k:,}"]
    return ", ".join(filter(None, parts)) or "all"
