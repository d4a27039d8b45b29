"""Figures of one layer: what each arm is compared with, and what is left out."""

import numpy as np
import pytest

from builder.experiments.by_layer import arm_figures, too_few
from builder.experiments.intervals import paired_p

_NAN = float("nan")
_TOP = np.array([0.9, 0.8, 0.7, 0.9, 0.6])
_ARMS = {
    "top": _TOP,
    "random": np.array([0.1, 0.2, _NAN, 0.1, 0.3]),
    "other": np.array([_NAN, 0.5, _NAN, 0.4, _NAN]),
}


def test_arms_are_averaged_over_the_images_that_have_them() -> None:
    figures = {
        f.arm: f
        for f in arm_figures(_ARMS, figure="f", measure="share", layer=3, seed=0, min_images=2)
    }
    assert {arm: (f.value, f.n) for arm, f in figures.items()} == {
        "top": (pytest.approx(0.78), 5),
        "random": (pytest.approx(0.175), 4),
        "other": (pytest.approx(0.45), 2),
    }
    assert {arm: f.control for arm, f in figures.items()} == {
        "top": "random",
        "random": "top",
        "other": "top",
    }
    assert {f.layer for f in figures.values()} == {3}
    # The pairs of those that have both.
    of_random = paired_p(_TOP[[0, 1, 3, 4]], _ARMS["random"][[0, 1, 3, 4]], seed=0)
    assert figures["top"].p_value == figures["random"].p_value == of_random
    assert figures["other"].p_value == paired_p(_TOP[[1, 3]], _ARMS["other"][[1, 3]], seed=0)


def test_an_arm_of_few_images_is_left_out() -> None:
    found = arm_figures(_ARMS, figure="f", measure="share", layer=3, seed=0, min_images=3)
    assert [f.arm for f in found] == ["top", "random"]


def test_layers_of_few_images_are_named() -> None:
    (figure,) = too_few("f", "one", {0: 3, 1: 2, 3: 9}, 4, 3, part="words")
    assert (figure.value, figure.part) == (None, "words")
    assert figure.note == "Fewer than 3 images have one in layer 1, 2."
    assert list(too_few("f", "one", {0: 3}, 1, 3)) == []
