"""Histograms of activations: the bins of `run_format`, and the quantiles read off them.

A bin spans a quarter of an octave, so a quantile taken at the middle of its bin is off by at
most `QUANTILE_RELATIVE_ERROR` of its value up to 2**8, or by `QUANTILE_ERROR_AT_ZERO` if that is
more. A quantile that is 0, as of units of ReLU that are mostly silent, is given as 0. Beyond 2**8
only the side is known; callers clip to the greatest activation that was seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from atlas_db.run_format import (
    HISTOGRAM_BINS_PER_OCTAVE,
    HISTOGRAM_BINS_PER_SIGN,
    HISTOGRAM_OCTAVE_MIN,
    N_HISTOGRAM_BINS,
)

#: Half of the widest bin over its middle: a bin [1, 1.25) has the middle 1.125.
QUANTILE_RELATIVE_ERROR = 0.125
#: Half of the innermost bin, [0, 1.25 * 2**-8).
QUANTILE_ERROR_AT_ZERO = 0.625 * 2**-8

#: Which quantiles a unit keeps.
QUANTILES = (0.5, 0.9, 0.95, 0.99)


def magnitude_edges() -> npt.NDArray[np.float64]:
    """Give edge(0) to edge(64), the lower edges of the magnitudes' bins: float64, shape (65,)."""
    octave, part = np.divmod(np.arange(HISTOGRAM_BINS_PER_SIGN + 1), HISTOGRAM_BINS_PER_OCTAVE)
    return np.exp2(octave + HISTOGRAM_OCTAVE_MIN) * (1 + part / HISTOGRAM_BINS_PER_OCTAVE)


def bin_edges() -> npt.NDArray[np.float64]:
    """Give the 129 edges of the 128 bins, rising, -inf and inf at the ends, 0 in the middle."""
    inner = magnitude_edges()[1:-1]
    return np.concatenate([[-np.inf], -inner[::-1], [0.0], inner, [np.inf]])


def bin_index(activations: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Find each activation's bin, 0 to 127; zero (of either sign) is in bin 64."""
    magnitude = np.abs(activations)
    steps = np.searchsorted(magnitude_edges()[1:-1], magnitude, side="right")
    return np.where(
        activations < 0, HISTOGRAM_BINS_PER_SIGN - 1 - steps, HISTOGRAM_BINS_PER_SIGN + steps
    )


def _bin_values() -> npt.NDArray[np.float64]:
    edges = magnitude_edges()
    middles = (edges[:-1] + edges[1:]) / 2
    middles[0] = edges[1] / 2
    middles[-1] = edges[-2]
    return np.concatenate([-middles[::-1], middles])


def quantiles(
    histograms: npt.NDArray[np.int64],
    n_positive: npt.NDArray[np.int64],
    probs: Sequence[float] = QUANTILES,
) -> npt.NDArray[np.float64]:
    """Read quantiles off histograms: float64 (n, len(probs)).

    The quantile at q is the middle of the bin that holds the value of rank ceil(q * count), rank
    1 being the least (numpy's `inverted_cdf`); 0 where that value is 0. An empty histogram gives
    nan.

    Args:
        histograms: (n, 128).
        n_positive: (n,), how many of a histogram's values are above 0: tells the zeros in the
            innermost bin from the small values.
        probs: Each in 0..1.
    """
    if histograms.ndim != 2 or histograms.shape[1] != N_HISTOGRAM_BINS:
        raise ValueError(f"histograms must be (n, {N_HISTOGRAM_BINS}), got {histograms.shape}")
    below = np.cumsum(histograms, axis=1)
    count = below[:, -1:]
    values = _bin_values()
    result = np.empty((len(histograms), len(probs)))
    for column, q in enumerate(probs):
        wanted = np.maximum(np.ceil(q * count), 1)
        place = (below < wanted).sum(axis=1).clip(max=N_HISTOGRAM_BINS - 1)
        is_zero = (place == HISTOGRAM_BINS_PER_SIGN) & (wanted <= count - n_positive[:, None])[:, 0]
        result[:, column] = np.where(is_zero, 0.0, values[place])
    result[count[:, 0] == 0] = np.nan
    return result
