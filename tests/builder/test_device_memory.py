"""Memory that is counted before it is taken."""

from pathlib import Path

import pytest
import torch
from tiny_models import D_MLP, D_MODEL, N_LAYERS, tiny_config, tiny_model

from atlas_db.errors import CaptionerError
from builder.attribution import Recorder
from builder.device_memory import PassMemory, check_memory, pass_memory
from builder.exemplars import LayerExemplars
from builder.fused import fused_kernels
from builder.statistics import LayerStatistics

GB = 10**9
N_PATCH = 40


@pytest.mark.parametrize("family", ["gptj", "gpt2", "llama"])
def test_what_is_counted_is_what_is_taken(family: str, tmp_path: Path) -> None:
    """Weights exactly, exemplars and the graph to two fifths: enough to refuse or to try."""
    tiny_config(family).save_pretrained(tmp_path)
    counted = pass_memory(tmp_path, N_PATCH, N_PATCH, torch.float64)
    model = tiny_model(family)
    assert counted.weights == 8 * sum(p.numel() for p in model.model.parameters())

    state = (LayerExemplars(D_MLP, N_PATCH, 16, "cpu"), LayerStatistics(D_MLP, "cpu"))
    held = sum(
        t.untyped_storage().nbytes()
        for part in state
        for t in vars(part).values()
        if isinstance(t, torch.Tensor)
    )
    assert counted.exemplars == pytest.approx(N_LAYERS * held, rel=0.4)

    kept: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in model.model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    embeddings = torch.randn(1, N_PATCH, D_MODEL, dtype=torch.float64)
    recorder = Recorder(model, 1, slice(0, N_PATCH), None)
    taps = model.taps(preactivation=recorder.see_z, activation=recorder.see_a)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with fused_kernels(model.model), taps, hooks:
        alive = model.model(inputs_embeds=embeddings, logits_to_keep=1)
    assert alive is not None
    assert counted.image == pytest.approx(sum(kept.values()), rel=0.4)


def test_a_device_that_is_too_small_is_told_how_much_is_needed() -> None:
    gptj = PassMemory(weights=24 * GB, exemplars=2 * GB, image=GB)
    check_memory(gptj, torch.float32, "cuda", 27 * GB)
    message = (
        r"needs 27.0 GB in float32: 24.0 GB of weights.*cuda has 15.0 GB free. "
        r"Use --dtype bfloat16 \(12.0 GB of weights\), a GPU with more memory, or --device cpu"
    )
    with pytest.raises(CaptionerError, match=message):
        check_memory(gptj, torch.float32, "cuda", 15 * GB)
    with pytest.raises(CaptionerError, match=r"free. Use a GPU with more memory"):
        check_memory(gptj, torch.bfloat16, "cuda", 15 * GB)
