"""Which caption is right for which image, and how often that happens by chance."""

import numpy as np
import pytest

from builder.experiments.captions import chance, hit_table


def test_a_caption_is_right_where_it_names_something_that_is_there() -> None:
    names = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
    is_in = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=bool)
    hits = hit_table(names, is_in)
    assert hits.tolist() == [[True, False, True], [True, True, True], [False, False, False]]
    # Right ones off the diagonal: (0, 2), (1, 0), (1, 2), of six pairs.
    assert chance(hits) == pytest.approx(3 / 6)


def test_chance_is_what_shuffling_gives() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((40, 40)) < 0.2
    shifts = [np.roll(np.arange(40), shift) for shift in range(1, 40)]
    by_shifts = np.mean([hits[np.arange(40), other].mean() for other in shifts])
    assert chance(hits) == pytest.approx(by_shifts)
    assert np.isnan(chance(np.ones((1, 1), dtype=bool)))
