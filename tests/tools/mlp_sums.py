"""Do the units of a model's MLPs add up to what the MLPs put out?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from builder.language_model import LanguageModel


def outputs_of_mlps(
    model: LanguageModel, run: Callable[[], object]
) -> tuple[list[Tensor], list[Tensor]]:
    """Run the model; give every layer's a and what its output matrix put out."""
    a: list[Tensor] = []
    out: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda m, i, o: out.append(o)) for module in model._mlp_out
    ]
    with model.taps(activation=lambda layer, tensor: a.append(tensor)):
        run()
    for handle in handles:
        handle.remove()
    return a, out


def assert_units_add_up(model: LanguageModel, run: Callable[[], object]) -> None:
    """sum_k a_k W_out[k] + bias is the MLP's output; a norm's gain after it is in W_out."""
    a_of_layers, outputs = outputs_of_mlps(model, run)
    assert len(outputs) == model.n_layers
    for layer, (a, out) in enumerate(zip(a_of_layers, outputs, strict=True)):
        written = sum(a[..., k, None] * model.write_vectors(layer)[k] for k in range(model.d_mlp))
        bias = model.write_bias(layer)
        if model.architecture.out_norm:
            norm = model._find_in_block(layer, model.architecture.out_norm)
            rms = (out.float().pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
            torch.testing.assert_close(
                (norm(out) * rms).to(out.dtype), written, rtol=1e-5, atol=1e-5
            )
        else:
            torch.testing.assert_close(out, written if bias is None else written + bias)
