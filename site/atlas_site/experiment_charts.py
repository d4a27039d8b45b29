"""Charts of experiments as inline SVG: curves, and points with their intervals.

They are drawn from the same numbers as the table beside them. Colours are classes of the style
sheet (`s0`, `s1`, ...), which gives each a dash of its own too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas_site.text import number, prose

#: Lines of a chart that can be told apart.
N_STYLES = 6

_WIDTH = 300
_HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its 95 % interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest of what is drawn."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return min(low, self.value), max(high, self.value)


def _span(points: Sequence[Point]) -> tuple[float, float]:
    """Give the axis, which always holds 0: least and greatest value."""
    ends = [end for point in points for end in point.ends]
    low, high = min(0.0, *ends), max(0.0, *ends)
    return (low, high) if high > low else (low, low + 1)


def curves_svg(lines: Mapping[str, Mapping[int, Point]], *, label: str, along: str) -> str:
    """Draw a line for each arm over steps that lie equally far apart, intervals as bands.

    Args:
        lines: Arm to {step: point}.
        along: What the steps count.
    """
    steps = sorted({step for line in lines.values() for step in line})
    points = [point for line in lines.values() for point in line.values()]
    if len(steps) < 2:
        return ""
    low, high = _span(points)

    def place(step: int, value: float) -> str:
        across = _WIDTH * steps.index(step) / (len(steps) - 1)
        return f"{across:.0f} {_HEIGHT * (high - value) / (high - low):.1f}"

    shapes, names = "", ""
    for index, (arm, line) in enumerate(lines.items()):
        style = f"s{index % N_STYLES}"
        rising = sorted(line.items())
        if any(point.low is not None for point in line.values()):
            upper = [place(step, point.ends[1]) for step, point in rising]
            lower = [place(step, point.ends[0]) for step, point in reversed(rising)]
            shapes += f'<path class="b {style}" d="M{"L".join(upper + lower)}z"/>'
        way = "L".join(place(step, point.value) for step, point in rising)
        shapes += f'<path class="{style}" d="M{way}"/>'
        names += f'<li class="{style}">{_line_sample(style)}{prose(arm)}</li>'
    if low < 0:
        shapes += f'<path class="z" d="M{place(steps[0], 0)}L{place(steps[-1], 0)}"/>'
    ticks = "".join(f"<span>{step:,}</span>" for step in steps)
    return (
        f'<div class="na-curves"><p class="na-axis-y"><span>{number(high, 2)}</span>'
        f"<span>{number(low, 2)}</span></p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{prose(label)}">{shapes}</svg><p class="na-axis">{ticks}</p>'
        f'<p class="na-axis-name">{prose(along)}</p></div><ul class="na-legend-list">{names}</ul>'
    )


def _line_sample(style: str) -> str:
    return f'<svg viewBox="0 0 24 8" aria-hidden="true"><path class="{style}" d="M0 4H24"/></svg>'


def intervals_svg(
    rows: Sequence[tuple[str, str, Point]], *, label: str, is_share: bool = False
) -> str:
    """Draw a row for each value: a dot at it, a line over its interval, all on one axis from 0.

    Args:
        rows: Name, the value as it is written beside, and what is drawn.
        is_share: The axis is written in per cent.
    """
    if len(rows) < 2:
        return ""
    low, high = _span([point for _, _, point in rows])

    def place(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.1f}%"

    shown = ""
    for name, said, point in rows:
        first, last = point.ends
        shown += (
            f'<li><span>{prose(name)}</span><svg role="img" aria-label="{said}">'
            f'<line class="z" x1="{place(0)}" x2="{place(0)}" y1="0" y2="100%"/>'
            f'<line x1="{place(first)}" x2="{place(last)}" y1="50%" y2="50%"/>'
            f'<circle cx="{place(point.value)}" cy="50%" r="3.5"/></svg>'
            f"<b>{said}</b></li>"
        )
    return (
        f'<ul class="na-intervals" aria-label="{prose(label)}">{shown}'
        f'<li><span></span><p class="na-axis"><span>{_tick(low, is_share)}</span>'
        f"<span>{_tick(high, is_share)}</span></p></li></ul>"
    )


def _tick(value: float, is_share: bool) -> str:
    return f"{number(100 * value, 2)} %" if is_share and value else number(value, 2)
