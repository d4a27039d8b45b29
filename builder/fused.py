"""GPT-J and GPT-2 through PyTorch's fused kernels, without a change to transformers.

transformers before 5.24 writes GPT-J's attention out (it keeps the weights of all heads for all
pairs of positions), and any version `gelu_new` as eight operations, of which autograd keeps four
inputs as wide as the MLP, and GPT-J's rotary embedding as seven, twice a layer: half of all that a
caption's step starts. While `fused_kernels` is open the first is one call of
`scaled_dot_product_attention`, the second one of `gelu(approximate="tanh")` and the third one
product of complex numbers: the same functions to rounding, in less memory and time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.activations import NewGELUActivation
from transformers.models.gptj import modeling_gptj
from transformers.models.gptj.modeling_gptj import GPTJAttention

from builder.devices import float32_sums


@contextmanager
def fused_kernels(model: Any) -> Iterator[None]:
    """Let a language model run through fused kernels; undone afterwards, also after an exception.

    For batches without padding and sequences that are whole or go on from a cache: then the mask
    is causal, and attention over equally many queries and keys needs none written out.
    """
    with ExitStack() as stack:
        stack.enter_context(float32_sums())
        rotary = modeling_gptj.apply_rotary_pos_emb
        stack.callback(setattr, modeling_gptj, "apply_rotary_pos_emb", rotary)
        modeling_gptj.apply_rotary_pos_emb = Rotation()
        for module in model.modules():
            if isinstance(module, GPTJAttention) and hasattr(module, "_attn"):
                _replace_attention(module, stack)
            for name, child in module.named_children():
                if isinstance(child, NewGELUActivation):
                    stack.callback(setattr, module, name, child)
                    setattr(module, name, nn.GELU(approximate="tanh"))
        before = model.config._attn_implementation
        if model._supports_sdpa and before != "sdpa":
            stack.callback(model.set_attn_implementation, before)
            model.set_attn_implementation("sdpa")
        yield


class _Turn(torch.autograd.Function):
    """Multiply by complex numbers of length 1; the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor, turns: Tensor) -> Tensor:
        ctx.save_for_backward(turns)
        return pairs * turns

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (turns,) = ctx.saved_tensors
        return gradient * turns.conj_physical(), None


class Rotation:
    """Turns pairs of neighbouring channels by their angles: GPT-J's `apply_rotary_pos_emb`.

    Rotary position embedding (Su et al. 2021, arXiv 2104.09864, section 3.2.1): the pairs are
    complex numbers, and turning one is a product with cos + i sin. All layers of a pass have the
    same angles, so the last ones are kept.
    """

    def __init__(self) -> None:
        self._sin: Tensor | None = None
        self._turns: Tensor | None = None

    def __call__(self, tensor: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        """Turn (batch, pos, head, 2 * n), floating point, by angles of (batch, pos, n).

        Returns:
            (batch, pos, head, 2 * n), in the type of `tensor`.
        """
        wide = torch.promote_types(tensor.dtype, torch.float32)
        if self._turns is None or self._sin is not sin or self._turns.real.dtype != wide:
            self._sin = sin
            self._turns = torch.complex(cos.to(wide), sin.to(wide))[:, :, None]
        pairs = torch.view_as_complex(tensor.to(wide).unflatten(-1, (-1, 2)))
        return torch.view_as_real(_Turn.apply(pairs, self._turns)).flatten(-2).to(tensor.dtype)


def _replace_attention(module: GPTJAttention, stack: ExitStack) -> None:
    """Hide the class's method behind one of the instance."""
    setattr(module, "_attn", partial(_attention, 1 / math.sqrt(module.head_dim)))  # noqa: B010
    stack.callback(delattr, module, "_attn")


def _attention(
    scale: float, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
) -> tuple[Tensor, None]:
    """Attend: (batch, head, pos, width) each; has GPTJAttention._attn's signature."""
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    is_whole = n_queries == n_keys
    needs_mask = not is_whole and n_queries > 1
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask if needs_mask else None,
        is_causal=is_whole,
        scale=scale,
    )
    return out, None
