"""Which units get pages."""

import numpy as np
import pytest
from atlas_site.context import GROUPED, NO_PAGE, OWN_PAGE, Scope


def test_a_whole_atlas_layer_by_layer() -> None:
    scope = Scope(3, 10)
    assert list(scope.ranges()) == [(0, 10), (10, 20), (20, 30)]


def test_some_layers() -> None:
    scope = Scope(4, 10, frozenset({3, 1}))
    assert list(scope.ranges()) == [(10, 20), (30, 40)]
    assert scope.n_units() == 20


@pytest.mark.parametrize(
    ("limit", "ranges"),
    [(0, ()), (7, ((10, 17),)), (12, ((10, 20), (30, 32))), (99, ((10, 20), (30, 40)))],
)
def test_limit_counts_from_the_first(limit: int, ranges: tuple[tuple[int, int], ...]) -> None:
    assert tuple(Scope(4, 10, frozenset({1, 3}), limit).ranges()) == ranges


def test_unknown_layers_are_named() -> None:
    with pytest.raises(ValueError, match=r"0\.\.3, got 4, 9"):
        Scope(4, 10, frozenset({9, 4, 1}))


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be >= 0, got -1"):
        Scope(4, 10, None, -1)


@pytest.mark.parametrize(
    ("min_images", "group", "kinds"),
    [
        (0, 0, [OWN_PAGE, OWN_PAGE, OWN_PAGE, OWN_PAGE]),
        (2, 0, [NO_PAGE, NO_PAGE, OWN_PAGE, OWN_PAGE]),
        (0, 32, [GROUPED, OWN_PAGE, OWN_PAGE, OWN_PAGE]),
        (3, 32, [GROUPED, GROUPED, GROUPED, OWN_PAGE]),
    ],
)
def test_which_units_have_a_page(min_images: int, group: int, kinds: list[int]) -> None:
    scope = Scope(2, 4, frozenset({1}), None, min_images, group)
    found = scope.page_kinds(np.array([9, 9, 9, 9, 0, 1, 2, 3], np.float32))
    assert found.tolist() == [NO_PAGE] * 4 + kinds
