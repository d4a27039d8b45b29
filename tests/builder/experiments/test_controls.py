"""Controls: others of each, and random units that stay in their layer."""

import numpy as np
import pytest

from builder.experiments.controls import another_of_each, random_units_of_layers


@pytest.mark.parametrize("n", [0, 2, 3, 50])
def test_each_gets_another_and_each_is_used_once(n: int) -> None:
    other = another_of_each(n, np.random.default_rng(n))
    assert sorted(other) == list(range(n))
    assert not (other == np.arange(n)).any()


def test_one_thing_has_no_other() -> None:
    with pytest.raises(ValueError, match="no other"):
        another_of_each(1, np.random.default_rng(0))


def test_random_units_lie_in_the_same_layers_and_are_none_of_the_top() -> None:
    rng = np.random.default_rng(0)
    uid = np.array([3, 12, 14, 25])
    seen = set()
    for _ in range(200):
        drawn = random_units_of_layers(uid, 10, rng, never=[0, 11])
        assert (drawn // 10 == uid // 10).all()
        assert len(set(drawn)) == 4
        assert not set(drawn) & {3, 12, 14, 25, 0, 11}
        seen |= set(drawn.tolist())
    # Every unit that may be drawn is, sooner or later.
    assert seen == set(range(30)) - {3, 12, 14, 25, 0, 11}


def test_a_layer_with_too_few_others_says_so() -> None:
    drawn = random_units_of_layers([0, 1, 4], 3, np.random.default_rng(0))
    assert sorted(drawn[:2]) == [-1, 2]
    assert drawn[2] in (3, 5)
