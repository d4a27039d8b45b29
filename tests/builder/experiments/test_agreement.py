"""Word overlap of units with captions, worked out by hand."""

import numpy as np
import pytest

from builder.experiments.agreement import best_of, overlap_table, unit_scores
from builder.experiments.contents import content_stems

STEMS = [frozenset({"boat", "sea"}), frozenset({"dog", "bark", "tail", "cat"}), frozenset()]
WORDS = [frozenset({"boat", "man"}), frozenset({"dog", "tail", "sea"}), frozenset({"tree"})]
UNITS = [np.array([0, 1]), np.array([1, 2]), np.array([1])]


def test_overlap_is_the_share_of_a_units_words_that_are_in_the_captions() -> None:
    table = overlap_table(STEMS, UNITS, WORDS)
    assert table.values.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert best_of(table, UNITS, np.arange(3)).tolist() == [0.5, 0.5, 0.0]
    # The units of the first image with the captions of the last.
    assert best_of(table, UNITS[:1], np.array([2])).tolist() == [0.0]


def test_a_unit_is_compared_with_all_images_that_are_not_its_own() -> None:
    found = unit_scores(overlap_table(STEMS, UNITS, WORDS), UNITS)
    assert found.uid.tolist() == [0, 1, 2]
    assert found.n_images.tolist() == [1, 3, 1]
    assert found.own == pytest.approx([0.5, 0.5 / 3, 0.0])
    # Unit 1 is found on all images: there is no other to compare with.
    assert found.random == pytest.approx([0.25, 0.5 / 3, 0.0])


def test_function_words_are_no_content() -> None:
    assert content_stems("A dog is on the boats.") >= {"dog", "boat"}
    assert not content_stems("A dog is on the boats.") & {"a", "on", "the"}
