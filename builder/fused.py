"""GPT-J and GPT-2 through PyTorch's fused kernels, without a change to transformers.

transformers before 5.24 writes GPT-J's attention out (it keeps the weights of all heads for all
pairs of positions), and any version `gelu_new` as eight operations, of which autograd keeps four
inputs as wide as the MLP. While `fused_kernels` is open the first is one call of
`scaled_dot_product_attention` and the second one of `gelu(approximate="tanh")`: the same functions
to rounding, in less memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.activations import NewGELUActivation
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
