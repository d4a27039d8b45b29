"""GPT-J and GPT-2 through PyTorch's fused kernels, without a change to transformers.

transformers writes `gelu_new` as eight operations, of which autograd keeps four inputs as wide as
the MLP. GPT-J's attention is three products of the same input, a rotary embedding of seven
operations for queries and once more for keys, parts cut out and joined again, and before 5.24 the
weights of all heads for all pairs of positions: most of what a caption's step starts. While
`fused_kernels` is open the first is one call of `gelu(approximate="tanh")`; queries, keys and
values are one product, turned where they lie by one product of complex numbers; and attention is
one call of `scaled_dot_product_attention`: the same functions to rounding, in less memory and time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.activations import NewGELUActivation
from transformers.models.gptj.modeling_gptj import GPTJAttention

from builder.devices import float32_sums

#: What GPT-J's attention calls its cache: `cache` from transformers 5.24 on, before `layer_past`.
#: If neither, it is of a version that nobody has tried, and is left alone.
_TAKEN = signature(GPTJAttention.forward).parameters
_CACHE_NAME = next((name for name in ("cache", "layer_past") if name in _TAKEN), None)


@contextmanager
def fused_kernels(model: Any) -> Iterator[None]:
    """Let a language model run through fused kernels; undone afterwards, also after an exception.

    For batches without padding and sequences that are whole or go on from a cache: then the mask
    is causal, and attention over equally many queries and keys needs none written out. For weights
    that are not trained: those of GPT-J's queries, keys and values get no gradient. They lie side
    by side in memory afterwards, with the same numbers. May be opened again while it is open; an
    attention whose forward is another's already (accelerate's hooks) is left alone.
    """
    with ExitStack() as stack:
        stack.enter_context(float32_sums())
        rotation = Rotation()
        for module in model.modules():
            if isinstance(module, GPTJAttention) and "forward" not in vars(module) and _CACHE_NAME:
                _hide_forward(module, Attention(module, rotation, _CACHE_NAME), stack)
            for name, child in module.named_children():
                if isinstance(child, NewGELUActivation):
                    stack.callback(setattr, module, name, child)
                    setattr(module, name, nn.GELU(approximate="tanh"))
        before = model.config._attn_implementation
        if model._supports_sdpa and before != "sdpa":
            stack.callback(model.set_attn_implementation, before)
            model.set_attn_implementation("sdpa")
        yield


def _hide_forward(module: nn.Module, function: Callable[..., Any], stack: ExitStack) -> None:
    """Hide the class's method behind one of the instance."""
    module.forward = function
    stack.callback(delattr, module, "forward")


class Attention:
    """GPT-J's attention, with the signature of `GPTJAttention.forward`."""

    def __init__(self, module: GPTJAttention, rotation: Rotation, cache_name: str) -> None:
        self._module = module
        self._cache_name = cache_name
        self._rotation = rotation
        self._weight = side_by_side([module.q_proj, module.k_proj, module.v_proj])

    def __call__(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """Attend from (batch, pos, d_model); the weights, in the second place, are not given."""
        module = self._module
        if position_embeddings is None:  # before transformers 5.24 every layer looks them up
            assert position_ids is not None
            table: Any = module.embed_positions
            turns = self._rotation.of_positions(table, position_ids, hidden_states)
        else:
            turns = self._rotation.of_angles(*position_embeddings)
        heads = module.num_attention_heads, module.rotary_dim
        query, key, value = _Project.apply(hidden_states, self._weight, turns, *heads)
        cache = others[self._cache_name]
        if cache is not None:
            key, value = cache.update(key, value, module.layer_idx)
        out = _attend(query, key, value, attention_mask)
        return module.out_proj(out.transpose(1, 2).flatten(2)), None


def side_by_side(linears: Sequence[nn.Linear]) -> Tensor:
    """Give the weights (n, d) of linear layers as one tensor (layers * n, d), without its graph.

    They are laid one behind the other in memory, if they are not.
    """
    weights = [linear.weight.detach() for linear in linears]
    first, *others = weights
    storage, offset, n = first.untyped_storage(), first.storage_offset(), first.numel()
    if any(
        weight.untyped_storage()._cdata != storage._cdata
        or weight.storage_offset() != offset + i * n
        for i, weight in enumerate(others, 1)
    ):
        joined = torch.cat(weights)
        for linear, part in zip(linears, joined.split(len(first)), strict=True):
            linear.weight.data = part
        return joined
    return first.as_strided((len(weights) * len(first), first.shape[1]), first.stride())


class Rotation:
    """By which complex numbers pairs of neighbouring channels are turned.

    Rotary position embedding (Su et al. 2021, arXiv 2104.09864, section 3.2.1): the pairs are
    complex numbers, and turning one is a product with cos + i sin. All layers of a pass have the
    same angles, so the last ones are kept.
    """

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._turns: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0))

    def of_angles(self, sin: Tensor, cos: Tensor) -> tuple[Tensor, Tensor]:
        """Turn by angles of (batch, pos, n), and back: (batch, pos, 1, 1, n), complex, each."""
        if self._of is not sin:
            wide = torch.promote_types(sin.dtype, torch.float32)
            turns = torch.complex(cos.to(wide), sin.to(wide))[:, :, None, None]
            self._of, self._turns = sin, (turns, turns.conj_physical())
        return self._turns

    def of_positions(self, table: Tensor, ids: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Look up sines and cosines, (max_pos, 2 * n), of positions (batch, pos), to `like`'s type.

        Returns:
            As `of_angles`.
        """
        if self._of is not ids:
            sin, cos = table.to(like.device)[ids].to(like.dtype).chunk(2, dim=-1)
            self._turns = self.of_angles(sin, cos)
            self._of = ids
        return self._turns


class _Project(torch.autograd.Function):
    """Queries, keys and values by one product, the first two turned where they lie."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        turns: tuple[Tensor, Tensor],
        n_heads: int,
        n_turned: int,
    ) -> tuple[Tensor, ...]:
        """Multiply (batch, pos, d) by (3 * d, d); turn `n_turned` channels of each head.

        Returns:
            Queries, keys, values: (batch, head, pos, width) each.
        """
        forth, ctx.back = turns
        ctx.weight, ctx.n_turned, ctx.dtype = weight, n_turned, x.dtype
        whole = (x @ weight.T).unflatten(-1, (3, n_heads, -1))
        _turn(whole, forth, n_turned)
        query, key, value = whole.unbind(2)
        if ctx.needs_input_grad[0]:  # attention keeps queries, which would keep the other two
            query = query.clone()
        return tuple(part.transpose(1, 2) for part in (query, key, value))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Turn back and multiply."""
        whole = torch.stack([gradient.transpose(1, 2) for gradient in gradients], dim=2)
        _turn(whole, ctx.back, ctx.n_turned)
        gradient = whole.flatten(2) @ ctx.weight.to(whole.dtype)  # another under autocast
        return gradient.to(ctx.dtype), None, None, None, None


def _turn(whole: Tensor, turns: Tensor, n_turned: int) -> None:
    """Turn the first channels of queries and keys, (batch, pos, 3, head, width), in their place."""
    part = whole[:, :, :2, :, :n_turned]
    wide = part.to(torch.promote_types(part.dtype, torch.float32))
    torch.view_as_complex(wide.unflatten(-1, (-1, 2))).mul_(turns)
    if wide is not part:
        part.copy_(wide)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attend: (batch, head, pos, width) each."""
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    is_whole = n_queries == n_keys
    needs_mask = not is_whole and n_queries > 1
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask if needs_mask else None, is_causal=is_whole
    )
