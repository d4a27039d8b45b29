"""Hooks see what they say they see, and leave nothing behind."""

from typing import Any

import pytest
import torch
from tiny_models import D_MLP, D_MODEL, D_VOCAB, N_LAYERS, tiny_model
from torch import Tensor

from atlas_db.errors import CaptionerError
from builder.architectures import ARCHITECTURES
from builder.language_model import LanguageModel, count_hooks

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def outputs_of_mlps(model: LanguageModel) -> tuple[list[Tensor], list[Tensor]]:
    """Run the model; give every layer's a and what its output matrix put out."""
    a: list[Tensor] = []
    out: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda m, i, o: out.append(o)) for module in model._mlp_out
    ]
    with model.taps(activation=lambda layer, tensor: a.append(tensor)):
        model.model(IDS)
    for handle in handles:
        handle.remove()
    return a, out


def test_dimensions(model: LanguageModel) -> None:
    assert (model.n_layers, model.d_mlp, model.d_model) == (N_LAYERS, D_MLP, D_MODEL)
    assert model.d_vocab == D_VOCAB
    assert model.n_units == N_LAYERS * D_MLP


def test_units_and_bias_add_up_to_the_mlp(model: LanguageModel) -> None:
    """sum_k a_k W_out[k] + bias is the MLP's output; a norm's gain after it is in W_out."""
    for layer, (a, out) in enumerate(zip(*outputs_of_mlps(model), strict=True)):
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


def test_a_is_the_non_linearity_of_z(model: LanguageModel) -> None:
    """In a gated MLP a is that times the up projection, so z = 0 gives a = 0 in both."""
    zeroed = []
    with model.taps(
        preactivation=lambda layer, z: torch.zeros_like(z),
        activation=lambda layer, a: zeroed.append(a),
    ):
        model.model(IDS)
    assert len(zeroed) == N_LAYERS
    assert all(not a.any() for a in zeroed)


def test_a_replacement_takes_effect(model: LanguageModel) -> None:
    before = model.model(IDS).logits
    with model.taps(activation=lambda layer, a: torch.zeros_like(a) if layer == 1 else None):
        without = model.model(IDS).logits
    assert (before - without).abs().max() > 1e-3
    torch.testing.assert_close(model.model(IDS).logits, before)


def test_no_hook_is_left(model: LanguageModel) -> None:
    with model.taps(preactivation=lambda layer, z: None, activation=lambda layer, a: None):
        assert count_hooks(model.model) == 2 * N_LAYERS
    assert count_hooks(model.model) == 0


def test_no_hook_is_left_after_an_exception(model: LanguageModel) -> None:
    def fail(layer: int, tensor: Tensor) -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), model.taps(activation=fail):
        model.model(IDS)
    assert count_hooks(model.model) == 0


def test_no_hook_is_left_after_a_bad_module(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last module refuses its hook: those that are on already come off."""

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError("no hook here")

    monkeypatch.setattr(model._mlp_out[-1], "register_forward_pre_hook", refuse)
    with (
        pytest.raises(TypeError, match="no hook here"),
        model.taps(preactivation=lambda layer, z: None, activation=lambda layer, a: None),
    ):
        pytest.fail("the context must not open")
    assert count_hooks(model.model) == 0


def test_unknown_family_is_named(model: LanguageModel) -> None:
    model.model.config.model_type = "mamba"
    with pytest.raises(CaptionerError, match=r"'mamba' are not in the architecture table .*gptj"):
        LanguageModel(model.model)


def test_a_mixture_of_experts_is_refused(model: LanguageModel) -> None:
    model.model.config.num_local_experts = 8
    with pytest.raises(CaptionerError, match="mixture of 8 experts: which of them a position goes"):
        LanguageModel(model.model)


@pytest.mark.parametrize(("gate", "up", "sign"), [(2, 3, 1), (2, -3, -1), (-2, 3, -1), (-2, -3, 1)])
def test_a_gated_units_sign_is_the_product_of_two(gate: float, up: float, sign: int) -> None:
    """The four cases: SiLU keeps the sign of z, and the up projection may turn it."""
    model = tiny_model("llama", dtype=torch.float32)
    mlp = model.model.model.layers[0].mlp
    with torch.no_grad():
        mlp.gate_proj.weight.zero_()
        mlp.up_proj.weight.zero_()
        mlp.gate_proj.weight[7, 0] = gate
        mlp.up_proj.weight[7, 0] = up
    seen = {}
    with model.taps(
        preactivation=lambda layer, z: seen.setdefault("z", z) if layer == 0 else None,
        activation=lambda layer, a: seen.setdefault("a", a) if layer == 0 else None,
    ):
        out = mlp(torch.eye(1, D_MODEL))
    assert torch.sign(seen["z"][0, 7]) == torch.sign(torch.tensor(gate))
    assert torch.sign(seen["a"][0, 7]) == sign
    torch.testing.assert_close(out[0], seen["a"][0, 7] * model.write_vectors(0)[7])


def test_wrong_name_is_named(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "gpt2" if model.architecture.family != "gpt2" else "llama"
    own = model.model.config.model_type
    monkeypatch.setitem(ARCHITECTURES, own, ARCHITECTURES[wrong])  # type: ignore[index]
    with pytest.raises(CaptionerError, match="the architecture table says that family"):
        LanguageModel(model.model)
    assert count_hooks(model.model) == 0


def test_opt_that_norms_afterwards_is_refused() -> None:
    opt = tiny_model("opt").model
    opt.config.do_layer_norm_before = False
    with pytest.raises(CaptionerError, match="opt-350m"):
        LanguageModel(opt)
