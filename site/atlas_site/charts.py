"""Small charts as inline SVG: no script, coloured by the style sheet, with a text for readers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from atlas_db.histogram import bin_edges
from atlas_db.run_format import HISTOGRAM_BINS_PER_SIGN
from atlas_site.text import count, number

_HEIGHT = 64

_EDGES: list[float] = bin_edges().tolist()

#: Part of a histogram's width that the number at an end takes.
_END_WIDTH = 0.16

#: Bars are never wider than this.
_BAR_REM = 2.4


def _area(heights: npt.NDArray[np.int64]) -> str:
    """Draw steps of width 1 as one path, in relative moves."""
    bounded = np.zeros(len(heights) + 2, np.int64)
    bounded[1:-1] = heights
    rises = bounded[1:] - bounded[:-1]
    places = rises.nonzero()[0]
    widths = (places[1:] - places[:-1]).tolist()  # up to the next change
    changes = zip(rises[places].tolist(), [*widths, 0], strict=True)
    moves = "".join([f"v{-rise}h{width}" for rise, width in changes])
    return f"M0 {_HEIGHT}h{places[0]}{moves}z"


def histogram_svg(counts: Sequence[int], quantiles: Mapping[str, float]) -> str:
    """Draw a unit's activations: bins of a quarter octave, heights by the logarithm of the count.

    Args:
        counts: N_HISTOGRAM_BINS counts, laid out as `atlas_db.histogram` says.
        quantiles: Values to mark, by their name ("0.95").
    """
    values = np.asarray(counts)
    filled = values.nonzero()[0]
    if not filled.size:
        return '<p class="na-none">No activations were counted.</p>'
    first = max(0, min(int(filled[0]), HISTOGRAM_BINS_PER_SIGN - 2) - 1)
    last = min(len(counts) - 1, max(int(filled[-1]), HISTOGRAM_BINS_PER_SIGN + 1) + 1)
    shown = np.log1p(values[first : last + 1])
    # What is not empty is at least one high.
    heights = np.maximum(np.rint(shown * ((_HEIGHT - 4) / shown.max())), shown > 0).astype(int)
    width = len(shown)
    marks = "".join(
        f'<path class="q" d="M{bisect_right(_EDGES, value) - 1 - first + 0.5} 0V{_HEIGHT}">'
        f"<title>{_percentile(name)}: {number(value)}</title></path>"
        for name, value in quantiles.items()
        if math.isfinite(value)
    )
    zero = HISTOGRAM_BINS_PER_SIGN - first
    low, high = _end(_EDGES[first + 1], zero / width), _end(_EDGES[last], 1 - zero / width)
    return (
        f'<svg class="na-histogram" viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="Histogram of {count(sum(counts))} activations">'
        f'<path d="{_area(heights)}"/><path class="z" d="M{zero} 0V{_HEIGHT}"/>{marks}</svg>'
        f'<p class="na-axis"><span>{low}</span>'
        f'<span style="left:{100 * zero / width:.1f}%">0</span><span>{high}</span></p>'
    )


def _end(value: float, distance: float) -> str:
    """Write an end of the axis; nothing where the 0, `distance` widths away, needs the room."""
    return number(value, 2) if distance > _END_WIDTH else ""


def _percentile(name: str) -> str:
    return "median" if name == "0.5" else f"{100 * float(name):g}th percentile"


def bars_svg(
    values: Sequence[float],
    titles: Sequence[str],
    *,
    label: str,
    ends: tuple[str, str],
    top: float | None = None,
) -> str:
    """Draw one bar for each value, all from 0; `ends` are written below the first and last.

    Args:
        top: The value of a bar of full height, for charts that are compared; the greatest without.
    """
    top = max(values, default=0) if top is None else top
    if top <= 0:
        return ""
    bars = "".join(
        f'<path d="M{index + 0.12:.2f} {_HEIGHT}v-{max(_HEIGHT * value / top, 0.6):.1f}h.76V64z">'
        f"<title>{titles[index]}</title></path>"
        for index, value in enumerate(values)
    )
    return (
        f'<div style="max-width:{_BAR_REM * len(values):g}rem"><svg class="na-bars" '
        f'viewBox="0 0 {len(values)} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{label}">{bars}</svg>'
        f'<p class="na-axis"><span>{ends[0]}</span><span>{ends[1]}</span></p></div>'
    )
