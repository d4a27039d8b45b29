"""A cache whose growth copies nothing, and the gradients through it."""

import pytest
import torch
from tiny_models import tiny_model
from torch import Tensor
from transformers.cache_utils import Cache

from builder.generation import branch_cache, generate_greedily, prefill, teacher_forced_logits


def prefilled(family: str, room: int) -> tuple[object, Tensor, Cache]:
    model = tiny_model(family).model
    width = model.get_input_embeddings().weight.shape[1]
    embeddings = torch.randn(2, 6, width, generator=torch.Generator().manual_seed(3))
    first, cache = prefill(model, embeddings.to(model.dtype), room=room)
    return model, first, cache


def places(cache: Cache) -> list[int]:
    """Where the keys and values of each layer begin in memory."""
    return [t.data_ptr() for layer in cache.layers for t in (layer.keys, layer.values)]


@pytest.mark.parametrize("family", ["gptj", "gpt2", "llama", "gemma2"])
def test_captions_and_their_logits_grow_in_the_memory_of_the_prefill(family: str) -> None:
    model, first, cache = prefilled(family, room=3)
    before = places(cache)
    branch = branch_cache(cache)
    tokens = generate_greedily(model, first.detach(), branch, max_new_tokens=4)
    assert (branch.get_seq_length(), cache.get_seq_length()) == (9, 6)
    assert all(not layer.keys.requires_grad for layer in branch.layers)
    teacher_forced_logits(model, first, cache, tokens)
    assert cache.get_seq_length() == 9
    assert places(branch) == places(cache) == before


def test_a_cache_says_when_its_room_is_used_up() -> None:
    model, first, cache = prefilled("gptj", room=1)
    with pytest.raises(ValueError, match="has room for 7 positions, not 8"):
        generate_greedily(model, first, branch_cache(cache), max_new_tokens=3)


def test_gradients_of_what_was_appended_are_those_of_what_was_joined() -> None:
    """Of positions known before and new ones, used before and after, over a branch's leavings."""
    generator = torch.Generator().manual_seed(0)
    layer_type = type(prefilled("gptj", room=5)[2].layers[0])
    parts = [torch.randn(2, 4, n, 8, generator=generator, dtype=torch.float64) for n in (3, 1, 2)]
    weights = [torch.randn_like(torch.cat(parts[: i + 1], dim=2)) for i in range(3)]

    def gradients(joined: object) -> list[Tensor]:
        leaves = [part.clone().requires_grad_() for part in parts]
        total = torch.zeros((), dtype=torch.float64)
        for whole, weight in zip(joined(leaves), weights, strict=True):  # type: ignore[operator]
            total = total + (whole.square() * weight).sum()
        total.backward()
        return [leaf.grad for leaf in leaves]  # type: ignore[misc]

    def by_cat(leaves: list[Tensor]) -> list[Tensor]:
        return [torch.cat(leaves[: i + 1], dim=2) for i in range(3)]

    def by_cache(leaves: list[Tensor]) -> list[Tensor]:
        layer = layer_type(room=5)
        shown = []
        for leaf in leaves:
            shown.append(layer.update(leaf * 1, leaf * 2)[0])
            layer.branch().update(torch.full_like(leaf, 7.0), torch.full_like(leaf, 7.0))
        return shown

    for ours, theirs in zip(gradients(by_cache), gradients(by_cat), strict=True):
        torch.testing.assert_close(ours, theirs)
