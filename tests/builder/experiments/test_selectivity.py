"""Selectivity on units whose activations are set by hand."""

import numpy as np
import pytest

from builder.experiments.category_units import choose_units, measure
from builder.experiments.peaks import mean_by_category, membership
from builder.experiments.selectivity_figures import own_margin

N_IMAGES = 40


def test_categories_of_few_images_are_left_out() -> None:
    image_ids = np.arange(8)
    categories = {i: frozenset({5} if i < 6 else {9, 5}) for i in range(8)}
    ids, is_in = membership(image_ids, categories)
    assert ids.tolist() == [5]
    assert is_in.shape == (8, 1)
    assert is_in.all()
    ids, is_in = membership(image_ids, {})
    assert (len(ids), is_in.shape) == (0, (8, 0))


def test_means_by_category() -> None:
    values = np.array([[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]])
    is_in = np.array([[True, False], [True, True], [False, True]])
    assert mean_by_category(values, is_in) == pytest.approx(np.array([[2.0, 4.0], [15.0, 40.0]]))


def test_the_units_of_a_category_are_those_of_most_of_its_images() -> None:
    # Images 0 to 2 are of category 4, image 2 also of category 6.
    is_in = np.array([[1, 0], [1, 0], [1, 1]], dtype=bool)
    row = np.array([0, 0, 1, 1, 2, 2])
    uid = np.array([3, 1, 3, 0, 3, 2])
    found = choose_units((row, uid), is_in, np.array([4, 6]), np.ones(5, bool))
    columns = zip(found.category_id, found.rank, found.uid, found.n_images, strict=True)
    # Of category 6, unit 2 goes before unit 3, which is in more top 100s.
    assert [tuple(map(int, c)) for c in columns] == [
        (4, 1, 3, 3), (4, 2, 0, 1), (4, 3, 1, 1), (4, 4, 2, 1), (6, 1, 2, 1), (6, 2, 3, 1),
    ]  # fmt: skip
    without = choose_units((row, uid), is_in, np.array([4]), np.array([1, 1, 1, 0, 1], bool))
    assert 3 not in without.uid


def test_a_unit_of_one_category_alone_has_no_entropy_and_a_low_p() -> None:
    is_in = np.zeros((N_IMAGES, 4), dtype=bool)
    is_in[np.arange(N_IMAGES), np.arange(N_IMAGES) % 4] = True
    rng = np.random.default_rng(0)
    one = np.where(is_in[:, 2], 1.0, -1.0)
    same = np.ones(N_IMAGES)
    noise = rng.uniform(1, 2, N_IMAGES)
    silent = -np.ones(N_IMAGES)
    peaks = np.stack([one, same, noise, silent], axis=1)
    found = measure(peaks, np.array([0.0, 0.5, 1.5, 0.0]), is_in, rng)
    assert found.entropy[:2] == pytest.approx([0.0, np.log(4)])
    assert found.entropy[2] == pytest.approx(np.log(4), abs=0.01)
    assert found.p[0] == pytest.approx(0.001)
    assert found.p[1] > 0.3
    assert found.p[2] > 0.01
    assert np.isnan(found.entropy[3])
    assert np.isnan(found.p[3])
    assert found.firing[:2] == pytest.approx([0.0, np.log(4)])
    assert np.isnan(found.firing[3])
    assert found.means[0] == pytest.approx([-1.0, -1.0, 1.0, -1.0])
    # Shuffled, ten images fall on four categories nearly evenly.
    assert 1.2 < found.below_chance[0] < np.log(4)
    assert found.below_chance[1] == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.below_chance[3])


def test_a_unit_that_is_seldom_active_is_not_below_chance_for_that() -> None:
    is_in = np.zeros((N_IMAGES, 4), dtype=bool)
    is_in[np.arange(N_IMAGES), np.arange(N_IMAGES) % 4] = True
    twice = (np.arange(N_IMAGES) < 2).astype(float)
    found = measure(twice[:, None], np.zeros(1), is_in, np.random.default_rng(0))
    assert found.entropy[0] == pytest.approx(np.log(2))
    # The second of two images is of the first one's category in 9 of 39 shuffles: no entropy then.
    assert found.below_chance[0] == pytest.approx(-9 / 39 * np.log(2), abs=0.03)


def test_margin_in_deviations() -> None:
    means = np.array([[0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 0.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    # Mean 1, deviation sqrt(3): (4 - 1) / sqrt(3) and (0 - 1) / sqrt(3).
    assert own_margin(means, np.array([3, 0, 2])) == pytest.approx([3**0.5, -(3**-0.5), 0.0])
