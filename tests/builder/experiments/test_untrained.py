"""Without what it learned: shuffled weights keep their values, and lose what they carried."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from builder.captioner import Captioner
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Figure
from builder.experiments.untrained import (
    LEARNED,
    SHUFFLED,
    UNTRAINED,
    _side_by_side,
    part_of,
    shuffled_captioner,
)


@pytest.fixture(scope="module")
def learned(lone_context: ExperimentContext) -> ExperimentContext:
    """The planted captioner, taken for one that learned what was planted."""
    captioner = lone_context.captioner
    config = replace(captioner.config, is_random=False)
    return replace(lone_context, captioner=replace(captioner, config=config))


def _tensors(captioner: Captioner) -> list[torch.Tensor]:
    parts = (captioner.model, captioner.encoder, captioner.adapter)
    return [parameter.detach().clone() for part in parts for parameter in part.parameters()]


def test_every_tensor_keeps_its_entries_in_another_order(learned: ExperimentContext) -> None:
    before = _tensors(learned.captioner)
    shuffled = shuffled_captioner(learned.captioner, seed=3)
    found = _tensors(shuffled)
    n_moved = 0
    for own, other in zip(before, found, strict=True):
        assert own.shape == other.shape
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)
        n_moved += not torch.equal(own, other)
    assert n_moved > len(before) / 3  # gains of 1 and biases of 0 look alike in any order
    assert all(torch.equal(a, b) for a, b in zip(before, _tensors(learned.captioner), strict=True))
    again = _tensors(shuffled_captioner(learned.captioner, seed=3))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_tied_weights_stay_tied_and_are_shuffled_once(learned: ExperimentContext) -> None:
    model = torch.nn.Module()
    model.one = torch.nn.Linear(8, 8, bias=False)
    model.two = torch.nn.Linear(8, 8, bias=False)
    model.two.weight = model.one.weight
    tied = replace(learned.captioner, model=model)
    shuffled = shuffled_captioner(tied, seed=0).model
    assert shuffled.two.weight is shuffled.one.weight
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    wanted = model.one.weight.flatten()[order].reshape(8, 8)
    assert torch.equal(shuffled.one.weight, wanted)


def test_what_one_unit_carried_is_gone(learned: ExperimentContext) -> None:
    figures = UNTRAINED.run(learned).figures
    drops = {
        (figure.arm, figure.k): figure.value
        for figure in figures
        if figure.figure.startswith("drop of the target's logit")
    }
    assert drops[LEARNED, 1] > 0.5
    assert (drops[SHUFFLED, 1] or 0.0) < drops[LEARNED, 1] / 2
    arms = [figure.arm for figure in figures]
    assert arms.count(LEARNED) == arms.count(SHUFFLED) > 0
    assert all(figure.control == SHUFFLED for figure in figures if figure.arm == LEARNED)


def test_a_captioner_of_random_weights_is_left_out(lone_context: ExperimentContext) -> None:
    (figure,) = UNTRAINED.run(lone_context).figures
    assert figure.value is None
    assert "untrained itself" in figure.note


@pytest.mark.parametrize(("value", "is_reached"), [(0.49, False), (0.51, True), (0.9, True)])
def test_a_figure_that_the_copy_reaches_says_so(value: float, is_reached: bool) -> None:
    columns = {"figure": "IoU", "measure": "IoU", "n": 9, "arm": "top units"}
    own = Figure(**columns, value=0.6, low=0.5, high=0.7, control="random units", p_value=0.01)
    other = Figure(**columns, value=value, low=0.3, high=0.95)
    first, second = _side_by_side(own, other)
    assert (first.arm, first.control, second.arm) == (LEARNED, SHUFFLED, SHUFFLED)
    assert first.figure == second.figure == "IoU, top units"
    assert first.p_value is None
    assert ("proves nothing" in first.note) is is_reached


def test_a_part_of_a_data_set_keeps_what_is_said_of_it(learned: ExperimentContext) -> None:
    wanted = learned.run.image_ids[:2]
    part = part_of(learned.dataset, wanted)
    assert part.images["image_id"].to_pylist() == wanted.tolist()
    for name in ("human_captions", "instances"):
        ids = learned.dataset.tables[name]["image_id"].to_numpy()
        kept = part.tables[name]["image_id"].to_numpy()
        assert len(kept) == np.isin(ids, wanted).sum() > 0
    assert part.tables["categories"].equals(learned.dataset.tables["categories"])
