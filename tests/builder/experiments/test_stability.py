"""What stays of top units, by counting."""

import numpy as np

from builder.experiments.stability import N_FIRST, _first, shared


def test_the_share_that_stays() -> None:
    assert shared(np.array([1, 2, 3, 4]), np.array([4, 9, 2])) == 0.5
    assert shared(np.array([], dtype=np.int64), np.array([1])) == 0.0


def test_the_first_units_are_those_that_occur_most_often() -> None:
    uid = np.array([7, 7, 7, 3, 3, 9, 1, 1])
    assert _first(uid).tolist() == [7, 1, 3, 9]
    assert len(_first(np.arange(100))) == N_FIRST
