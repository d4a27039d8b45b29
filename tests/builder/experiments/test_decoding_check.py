"""Which units say which categories."""

import numpy as np

from builder.experiments.decoding_check import says_table

STEMS = [frozenset({"boat", "sail", "sea"}), frozenset({"dog"}), frozenset()]
WORDS = {7: frozenset({"boat", "sail", "harbor"}), 9: frozenset({"dog", "sea"})}


def test_words_are_counted_by_unit_and_category() -> None:
    says = says_table(STEMS, WORDS)
    assert says.counts.tolist() == [[2, 1], [0, 1], [0, 0]]
    assert says.column_of == {7: 0, 9: 1}


def test_units_say_a_category_with_enough_of_its_words() -> None:
    says = says_table(STEMS, WORDS)
    uid = np.array([0, 2, -1])
    assert says.any_says(uid, frozenset({7}), 2)
    assert not says.any_says(uid, frozenset({7}), 3)
    assert not says.any_says(uid, frozenset({9}), 2)
    assert not says.any_says(np.array([2, -1]), frozenset({7, 9}), 1)
    assert not says.any_says(np.array([-1]), frozenset({7}), 1)
    assert not says.any_says(uid, frozenset(), 1)
