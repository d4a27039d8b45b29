"""Word overlap of units with captions, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from builder.experiments import agreement_models
from builder.experiments.agreement import best_of, overlap_table, unit_scores
from builder.experiments.agreement_models import Pairing, model_scores
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


class Lengths:
    """Scores a text by its length over that of the reference."""

    name = "length"
    about = "by length."

    def reference(self, context: object, image_id: int, captions: list[str]) -> int:
        return len(captions[0])

    def score(self, texts: list[str], reference: int) -> np.ndarray:
        return np.array([len(text) / reference for text in texts])


def test_models_score_images_and_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greatest of an image's units, those of its random pair, and means by unit."""
    texts = {0: "x", 1: "xx", 2: "xxx"}
    monkeypatch.setattr(agreement_models, "unit_texts", lambda context, pairing: texts)
    units = [np.array([0, 1]), np.array([1, 2]), np.array([1])]
    pairing = Pairing(np.array([7, 8, 9]), units, np.array([1, 2, 0]))
    captions = {7: ["."], 8: [".."], 9: ["...."]}
    contents = SimpleNamespace(captions_of=captions, generated_of={7: "ab", 8: "abc", 9: "a"})
    context = SimpleNamespace(progress=lambda stage, done, total: None)
    found = model_scores(context, contents, pairing, Lengths())  # type: ignore[arg-type]
    own, random, generated = found.by_image
    assert own.tolist() == [2, 1.5, 0.5]
    assert random.tolist() == [3, 1, 0.5]
    assert generated.tolist() == [2, 1.5, 0.25]
    assert found.units.uid.tolist() == [0, 1, 2]
    assert found.units.n_images.tolist() == [1, 3, 1]
    # Unit 1 is found on all three, and is in the random pair of all three.
    assert found.units.own == pytest.approx([1, (2 + 1 + 0.5) / 3, 1.5])
    assert found.units.random == pytest.approx([0.25, (2 + 1 + 0.5) / 3, 3])


def test_function_words_are_no_content() -> None:
    assert content_stems("A dog is on the boats.") >= {"dog", "boat"}
    assert not content_stems("A dog is on the boats.") & {"a", "on", "the"}
