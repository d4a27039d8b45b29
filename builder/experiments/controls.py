"""What an experiment's figures are held against: random units, and another picture's units.

A control differs from what is measured in one thing alone: a random unit lies in the same layer
(layers differ in how active their units are and in what they write), another picture's units are
top units too, only of a picture that they were not found on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Uids = npt.NDArray[np.int64]


def another_of_each(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Give each of n things another one, each used once: a random cycle through all (Sattolo).

    Raises:
        ValueError: n is 1: there is no other.
    """
    if n == 1:
        raise ValueError("n must be 0 or >= 2, got 1: there is no other to give")
    cycle = rng.permutation(n)
    other = np.empty(n, dtype=np.int64)
    other[cycle] = np.roll(cycle, -1)
    return other


def random_units_of_layers(
    uid: npt.ArrayLike,
    units_per_layer: int,
    rng: np.random.Generator,
    *,
    never: npt.ArrayLike = (),
) -> Uids:
    """Draw for each unit another of its layer, none twice, none of `uid` or `never`.

    Args:
        uid: (n,) units, distinct.
        units_per_layer: Units of each layer.
        never: Units that must not be drawn, such as all of an image's top 100.

    Returns:
        (n,), the i-th in the layer of uid[i]; -1 where a layer has too few others.
    """
    units = np.asarray(uid, dtype=np.int64)
    taken = np.union1d(units, np.asarray(never, dtype=np.int64))
    drawn = np.full(len(units), -1, dtype=np.int64)
    layers = units // units_per_layer
    for layer in np.unique(layers):
        places = np.flatnonzero(layers == layer)
        first = layer * units_per_layer
        inside = taken[(taken >= first) & (taken < first + units_per_layer)] - first
        is_free = np.ones(units_per_layer, dtype=bool)
        is_free[inside] = False
        free = np.flatnonzero(is_free)
        chosen = rng.permutation(free)[: len(places)] + first
        drawn[places[: len(chosen)]] = chosen
    return drawn
