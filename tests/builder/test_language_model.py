"""Hooks see what they say they see, and leave nothing behind."""

from typing import Any

import pytest
import torch
from mlp_sums import assert_units_add_up
from tiny_models import D_MLP, D_MODEL, D_VOCAB, N_LAYERS, tiny_model
from torch import Tensor
from transformers import (
    DeepseekV3Config,
    GptOssConfig,
    LlavaConfig,
    MixtralConfig,
    Qwen3MoeConfig,
)

from atlas_db.errors import CaptionerError
from builder.architectures import ARCHITECTURES, architecture_of_config
from builder.language_model import LanguageModel, count_hooks

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def test_dimensions(model: LanguageModel) -> None:
    assert (model.n_layers, model.d_mlp, model.d_model) == (N_LAYERS, D_MLP, D_MODEL)
    assert model.d_vocab == D_VOCAB
    assert model.n_units == N_LAYERS * D_MLP


def test_units_and_bias_add_up_to_the_mlp(model: LanguageModel) -> None:
    assert_units_add_up(model, lambda: model.model(IDS))


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


@pytest.mark.parametrize(
    "config",
    [
        MixtralConfig(),
        Qwen3MoeConfig(),
        DeepseekV3Config(),
        GptOssConfig(),
        LlavaConfig(text_config=MixtralConfig()),
    ],
    ids=lambda config: config.model_type,
)
def test_published_mixtures_of_experts_are_refused(config: Any) -> None:
    """By their configurations, before a weight is read; also inside a vision-language model."""
    with pytest.raises(CaptionerError, match=r"is a mixture of \d+ experts: .* Use a dense model"):
        architecture_of_config(config)


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
