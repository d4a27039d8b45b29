"""Which units get pages."""

import pytest
from atlas_site.context import Scope


def test_a_whole_atlas_is_one_range() -> None:
    scope = Scope(3, 10)
    assert scope.merged() == ((0, 30),)
    assert list(scope.ranges()) == [(0, 10), (10, 20), (20, 30)]


def test_some_layers() -> None:
    scope = Scope(4, 10, frozenset({3, 1}))
    assert scope.merged() == ((10, 20), (30, 40))
    assert scope.n_units() == 20


@pytest.mark.parametrize(
    ("limit", "ranges"),
    [(0, ()), (7, ((10, 17),)), (12, ((10, 20), (30, 32))), (99, ((10, 20), (30, 40)))],
)
def test_limit_counts_from_the_first(limit: int, ranges: tuple[tuple[int, int], ...]) -> None:
    assert Scope(4, 10, frozenset({1, 3}), limit).merged() == ranges


def test_unknown_layers_are_named() -> None:
    with pytest.raises(ValueError, match=r"0\.\.3, got 4, 9"):
        Scope(4, 10, frozenset({9, 4, 1}))


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be >= 0, got -1"):
        Scope(4, 10, None, -1)
