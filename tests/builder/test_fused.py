"""Fused kernels against what transformers writes out: the same function, in less memory."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import D_MLP, D_MODEL, N_LAYERS, WordTokenizer, tiny_model
from torch import Tensor, nn
from transformers import DynamicCache, GPTJConfig, GPTJModel
from transformers.activations import NewGELUActivation
from transformers.models.gptj import modeling_gptj
from transformers.models.gptj.modeling_gptj import GPTJAttention

from builder import fused
from builder.attribution import Recorder
from builder.detection import Detector
from builder.fused import fused_kernels, side_by_side
from builder.generation import with_cache
from builder.language_model import LanguageModel

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]] * 2)


def is_as_loaded(model: LanguageModel) -> bool:
    modules = list(model.model.modules())
    attention = [m for m in modules if isinstance(m, GPTJAttention)]
    n_gelus = sum(isinstance(m, NewGELUActivation) for m in modules)
    uses_gelu_new = model.activation_function == "gelu_new"
    return all("forward" not in vars(m) for m in attention) and n_gelus == (
        N_LAYERS if uses_gelu_new else 0
    )


def logits_and_gradient(model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Pass over five tokens, then over three more from the cache, then one; back to the first."""
    embeddings = model.embed(IDS).detach().clone().requires_grad_()
    cache = DynamicCache(config=model.model.config)
    logits = []
    for start, stop in ((0, 5), (5, 7), (7, 8)):
        out = model.model(
            inputs_embeds=embeddings[:, start:stop],
            position_ids=torch.arange(start, stop).expand(2, -1),
            **with_cache(model.model, cache),
            use_cache=True,
        )
        logits.append(out.logits)
    whole = torch.cat(logits, dim=1)
    whole.square().sum().backward()
    assert embeddings.grad is not None
    return whole.detach(), embeddings.grad


def test_logits_and_gradients_are_those_of_the_written_out_kernels(model: LanguageModel) -> None:
    """GPT-J as transformers writes it out attends in float32, whatever the model's dtype."""
    if isinstance(model.model, modeling_gptj.GPTJForCausalLM):
        model.model.set_attn_implementation("eager")
    expected = logits_and_gradient(model)
    with fused_kernels(model.model):
        found = logits_and_gradient(model)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_under_autocast_are_those_without() -> None:
    """As an adapter is trained: weights and embeddings in float32, products in bfloat16."""
    model = tiny_model("gptj", dtype=torch.float32)
    with fused_kernels(model.model):
        _, expected = logits_and_gradient(model)
        with torch.autocast("cpu", torch.bfloat16):
            _, found = logits_and_gradient(model)
    assert found.dtype == torch.float32
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99


def test_an_attention_that_nobody_has_tried_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names its cache otherwise: left out, a caption would go on without its picture."""
    monkeypatch.setattr(fused, "_CACHE_NAME", None)
    model = tiny_model("gptj")
    expected = logits_and_gradient(model)
    with fused_kernels(model.model):
        assert not any("forward" in vars(module) for module in model.model.modules())
        found = logits_and_gradient(model)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gptj_attends_through_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gptj")
    model.model.set_attn_implementation("eager")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("written out")

    # A method before transformers 5.24, a function of the module since.
    if hasattr(GPTJAttention, "_attn"):
        monkeypatch.setattr(GPTJAttention, "_attn", refuse)
    else:
        monkeypatch.setattr(modeling_gptj, "eager_attention_forward", refuse)
    with fused_kernels(model.model):
        model.model(IDS)
    with pytest.raises(AssertionError, match="written out"):
        model.model(IDS)


@pytest.mark.parametrize("family", ["gptj", "gpt2", "llama"])
def test_no_mask_of_pairs_of_positions_is_written(
    family: str, tokenizer: WordTokenizer, patches: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over patches and prompt the kernel is told that attention is causal; a step sees all."""
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        calls.append((query.shape[-2], key.shape[-2], options["is_causal"], options["attn_mask"]))
        return real(query, key, value, **options)

    for module in (torch.nn.functional, fused):
        monkeypatch.setattr(module, "scaled_dot_product_attention", attend)
    Detector(tiny_model(family), tokenizer, prompt_ids=[7, 8], max_new_tokens=3)(patches)
    assert calls[: 3 * N_LAYERS] == [
        *[(8, 8, True, None)] * N_LAYERS,
        *[(1, 9, False, None)] * N_LAYERS,
        *[(1, 10, False, None)] * N_LAYERS,
    ]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (NewGELUActivation, "forward"),
        (modeling_gptj, "apply_rotary_pos_emb"),
        (modeling_gptj.GPTJAttention, "forward"),
    ],
)
def test_gelu_and_projections_are_not_those_of_transformers(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("gptj")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("written out")

    monkeypatch.setattr(owner, name, refuse)
    with fused_kernels(model.model):
        model.model(IDS)
    with pytest.raises(AssertionError, match="written out"):
        model.model(IDS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("rotary_dim", [4, 8])
def test_queries_and_keys_are_turned_as_transformers_turns_them(
    dtype: torch.dtype, rotary_dim: int
) -> None:
    """At the same positions twice, at others, and at the first again."""
    torch.manual_seed(0)
    config = GPTJConfig(n_embd=24, n_head=3, n_positions=64, n_layer=2, rotary_dim=rotary_dim)
    model = GPTJModel._from_config(config, attn_implementation="eager", dtype=torch.float64).eval()
    model.requires_grad_(False)
    for parameter in model.parameters():  # numbers that every type has, and large enough to tell
        parameter.data = (5 * parameter).to(torch.bfloat16).double()
    theirs = copy.deepcopy(model).to(dtype)
    ours = copy.deepcopy(theirs)

    def error(found: Tensor) -> float:
        assert found.dtype == dtype
        return (found.double() - exact).abs().max().item()

    with fused_kernels(ours):
        for start in (0, 0, 9, 0):
            x = torch.randn(2, 5, 24).to(torch.bfloat16)
            inputs = {"position_ids": torch.arange(start, start + 5).expand(2, -1)}
            exact = model(inputs_embeds=x.double(), **inputs).last_hidden_state
            inputs["inputs_embeds"] = x.to(dtype)
            found = error(ours(**inputs).last_hidden_state)
            # Theirs attends in float32 at least, and at most.
            assert found <= 1.5 * error(theirs(**inputs).last_hidden_state) + 1e-5


def test_weights_of_queries_keys_and_values_lie_side_by_side() -> None:
    """The same numbers; a second time nothing is copied, unless they were put elsewhere."""
    model = tiny_model("gptj").model
    before = copy.deepcopy(model.state_dict())
    with fused_kernels(model):
        pass
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    attention = model.transformer.h[0].attn
    linears = [attention.q_proj, attention.k_proj, attention.v_proj]
    joined = side_by_side(linears)
    assert joined.data_ptr() == attention.q_proj.weight.data_ptr()
    assert torch.equal(joined, torch.cat([linear.weight for linear in linears]))
    with torch.no_grad():
        attention.v_proj.weight[-1] = 7.0
    assert joined[-1].eq(7).all()
    attention.k_proj.weight = nn.Parameter(attention.k_proj.weight.detach() + 1)
    again = side_by_side(linears)
    assert again.data_ptr() != joined.data_ptr()
    assert torch.equal(again, torch.cat([linear.weight for linear in linears]))


def test_an_eager_model_is_eager_again_afterwards() -> None:
    model = tiny_model("llama")
    model.model.set_attn_implementation("eager")
    with fused_kernels(model.model):
        assert model.model.config._attn_implementation == "sdpa"
    assert model.model.config._attn_implementation == "eager"


def test_all_is_undone(model: LanguageModel) -> None:
    assert is_as_loaded(model)
    with pytest.raises(RuntimeError, match="in the middle"), fused_kernels(model.model):
        raise RuntimeError("in the middle")
    assert is_as_loaded(model)


def test_it_may_be_open_twice(model: LanguageModel) -> None:
    with fused_kernels(model.model):
        expected = logits_and_gradient(model)
        with fused_kernels(model.model):
            inner = logits_and_gradient(model)
        outer = logits_and_gradient(model)
    assert is_as_loaded(model)
    for found, one in zip((*inner, *outer), (*expected, *expected), strict=True):
        assert torch.equal(found, one)


def test_a_forward_that_is_anothers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As accelerate puts one there that fetches weights first."""
    model = tiny_model("gptj")
    first = model.model.transformer.h[0].attn
    calls = []

    def forward(*arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return GPTJAttention.forward(first, *arguments, **options)

    monkeypatch.setattr(first, "forward", forward)
    with fused_kernels(model.model):
        model.model(IDS)
    assert len(calls) == 1
    assert first.forward is forward


def test_detection_leaves_the_model_as_it_was_when_it_fails(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    def fail(layer: int, a: Tensor) -> None:
        raise RuntimeError("no room")

    detector = Detector(model, tokenizer, prompt_ids=[7, 8], max_new_tokens=3)
    with pytest.raises(RuntimeError, match="no room"):
        detector(patches, fail)
    assert is_as_loaded(model)


def saved_in_graph(run: Callable[[], object]) -> dict[int, Tensor]:
    """Give what autograd keeps for the backward pass of `run`, by storage."""
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = run()
    assert kept is not None
    return saved


@pytest.mark.parametrize("family", ["gptj", "gpt2"])
def test_the_graph_keeps_one_tensor_of_the_mlps_width_a_layer(family: str) -> None:
    """Which is z; none of the pairs of positions' attention either."""
    model = tiny_model(family)
    embeddings = torch.randn(2, 7, D_MODEL, dtype=torch.float64)
    recorder = Recorder(model, 2, slice(0, 6), None)

    def run() -> object:
        taps = model.taps(preactivation=recorder.see_z, activation=recorder.see_a)
        with fused_kernels(model.model), taps:
            return model.model(inputs_embeds=embeddings, logits_to_keep=1)

    saved = saved_in_graph(run)
    wide = [t for t in saved.values() if t.shape[-1] == D_MLP and t.numel() == 2 * 7 * D_MLP]
    assert len(wide) == N_LAYERS
    own = {z.untyped_storage().data_ptr() for z in recorder.z}
    assert {t.untyped_storage().data_ptr() for t in wide} == own
    assert not recorder.a
    assert not [t for t in saved.values() if t.shape[-2:] == (7, 7)]
