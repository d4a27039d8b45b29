"""The pass on a device that is not the CPU: nothing is mixed, little waits, all is the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killed_build import run_of
from second_device import WAITS, move, second_device
from small_coco import write_small_coco
from tiny_models import D_MLP, N_LAYERS, WordTokenizer, tiny_model
from torch import Tensor

from atlas_db.ingest import ingest
from builder.captioner import load_captioner
from builder.detection import Detection, Detector
from builder.init_random import init_random_captioner
from builder.language_model import LanguageModel
from builder.tables import ShardTables

N_PATCH = 6


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.where(there > 0, there, here),
        lambda there, here: there.add_(here),
        lambda there, here: there.gather(0, here.long()),
        lambda there, here: here[there.long()] + here,
    ],
)
def test_tensors_of_two_devices_do_not_meet(mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    here = torch.ones(3, 3)
    with second_device() as device, pytest.raises(RuntimeError, match="at least two devices"):
        mix(torch.ones(3, 3).to(device), here)


def test_values_come_back_when_asked_for() -> None:
    with second_device() as device:
        values = torch.tensor([1.0, 2.0, 3.0], device=device)
        assert values.device == device
        assert not torch.arange(3, device=device).is_cpu
        with pytest.raises(RuntimeError, match=r"numpy\(\) is not supported"):
            values.numpy()
        WAITS.clear()
        assert values.tolist() == values.cpu().numpy().tolist() == [1, 2, 3]
        assert (values * 2).sum().item() == 12
        assert values[torch.tensor([2])].tolist() == [3]  # CUDA takes such indices too
        assert (values + torch.tensor(1)).tolist() == [2, 3, 4]  # and such numbers
        assert values[values > 1].tolist() == [2, 3]
        values.add_(1)
        assert values.tolist() == [2, 3, 4]
    assert [n for _, n in WAITS] == [3, 3, 1, 1, 3, 1, 2, 3]


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_a_build_there_is_the_build_here(family: str, tmp_path: Path) -> None:
    """Encoder, adapter, decoding, neighbours, detection, exemplars, statistics: the same hash."""
    coco = write_small_coco(tmp_path / "coco", 7)
    init_random_captioner(tmp_path / family, family=family)
    here = load_captioner(tmp_path / family, dtype="float64")
    expected = ingest(run_of(here, coco, tmp_path / "here"), tmp_path / "here.duckdb")

    there = load_captioner(tmp_path / family, dtype="float64")
    for part in (there.model, there.encoder, there.adapter):
        move(part)
    with second_device() as device:
        run = run_of(replace(there, device=device), coco, tmp_path / "there")
    assert ingest(run, tmp_path / "there.duckdb") == expected


def detect(model: LanguageModel, patches: Tensor, tables: ShardTables | None) -> Detection:
    detector = Detector(model, WordTokenizer(), prompt_ids=[7, 8], max_new_tokens=5)
    ids = torch.arange(len(patches), device=patches.device)

    def sink(layer: int, activations: Tensor) -> None:
        assert tables is not None
        tables.see_activations(layer, activations, ids)

    return detector(patches, sink if tables else None)


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_the_host_seldom_waits_and_little_leaves_the_device(family: str, patches: Tensor) -> None:
    """A wait in each layer, for which images are new; never units x patches x images."""
    model = tiny_model(family)
    move(model.model)
    n_negative = model.architecture.n_negative_exemplars
    with second_device() as device:
        sizes = (N_LAYERS, D_MLP, N_PATCH)
        tables = ShardTables(*sizes, k=4, n_negative=n_negative, device=device)
        there = patches.to(device)
        WAITS.clear()
        detect(model, there, None)
        alone = list(WAITS)
        WAITS.clear()
        found = detect(model, there, tables)
        whole = list(WAITS)
    assert type(found.results[0].logit) is Tensor
    assert len(whole) - len(alone) == N_LAYERS * (2 if n_negative else 1)
    assert max(n for _, n in whole) < N_LAYERS * D_MLP * N_PATCH * len(patches)
    # Captions' ends, tokens, and the columns of the result.
    assert len(alone) < 30
