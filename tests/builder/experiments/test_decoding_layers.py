"""Shares by layer, counted by hand: three layers of four units."""

import numpy as np
import pytest

from builder.experiments.decoding_layers import FIGURE, layer_figures, layer_shares

D_MLP = 4
N_LAYERS = 3
NAMES = {"top": "top units", "random": "random units", "other": "units of another image"}
#: The first three of each are looked at.
TOPS = {10: np.array([0, 1, 4, 2]), 11: np.array([5, 0, 6, 7])}


def says(image_id: int) -> np.ndarray:
    does = np.zeros(N_LAYERS * D_MLP, dtype=bool)
    does[{10: [0, 3, 5], 11: [5, 6, 1]}[image_id]] = True
    return does


def test_shares_by_hand() -> None:
    found = layer_shares(TOPS, [1, 0], says, n_first=3, d_mlp=D_MLP)
    assert set(found) == {0, 1}
    # Image 10 has units 0 and 1 first in layer 0, of which 0 says; 11 has unit 0, which does not.
    assert found[0]["top"] == [0.5, 0.0]
    # Of the layer's units outside of the top 100: unit 3 of image 10; units 1, 2 and 3 of image 11.
    assert found[0]["random"] == pytest.approx([1.0, 1 / 3])
    # Unit 0 of image 11 says image 10's things; of units 0 and 1 of image 10, 1 says image 11's.
    assert found[0]["other"] == [1.0, 0.5]
    assert found[1]["top"] == [0.0, 1.0]
    assert found[1]["random"] == pytest.approx([1 / 3, 0.0])
    assert found[1]["other"] == [0.5, 0.0]


def test_a_layer_without_other_units_has_no_random_share() -> None:
    found = layer_shares({10: np.arange(4), 11: np.array([8])}, [1, 0], says, n_first=3, d_mlp=4)
    assert np.isnan(found[0]["random"][0])
    assert np.isnan(found[0]["other"][0])
    figures = list(layer_figures(found, "x", NAMES, n_layers=N_LAYERS, seed=0, min_images=1))
    assert [f.arm for f in figures if f.layer == 0] == ["top units"]


def test_layers_of_few_images_are_left_out() -> None:
    found = layer_shares(TOPS, [1, 0], says, n_first=3, d_mlp=D_MLP)
    assert len(found[0]["top"]) == len(found[1]["top"]) == 2
    (gone,) = layer_figures(found, "x", NAMES, n_layers=N_LAYERS, seed=0, min_images=3)
    assert "Fewer than 3 images have one of their top five units in layer 0, 1, 2." in gone.note


def test_figures_say_which_layers_are_empty() -> None:
    found = layer_shares(TOPS, [1, 0], says, n_first=3, d_mlp=D_MLP)
    figures = list(layer_figures(found, "x", NAMES, n_layers=N_LAYERS, seed=0, min_images=1))
    by_arm = {(f.arm, f.layer): f for f in figures if f.value is not None}
    assert by_arm["top units", 0].value == pytest.approx(0.25)
    assert by_arm["random units", 0].value == pytest.approx(2 / 3)
    assert by_arm["units of another image", 1].value == pytest.approx(0.25)
    (empty,) = (f for f in figures if f.figure == FIGURE and f.value is None)
    assert "layer 2" in empty.note
