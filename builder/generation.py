"""Greedy captions over a prefilled cache, and the logits of their tokens with the graph kept.

The prefill of patches and prompt is done once, with its graph. Greedy decoding goes on from its
keys and values without the graph, which so does not grow with every step; then one teacher-forced
pass over the few caption tokens, on the cache that has the graph, gives logits whose gradients flow
back into the patches. That is the same function as one full forward pass. Keys and values of all
three lie in the same memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import cache as remember
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

#: On a device that runs ahead of Python, asking whether all captions have ended makes it wait.
_STEPS_BETWEEN_CHECKS = 8


class _Append(torch.autograd.Function):
    """Write new positions behind known ones and show both; each gets its part of the gradient.

    To join them would copy the known ones, and keep the copy for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, known: Tensor, new: Tensor, whole: Tensor) -> Tensor:
        """Write `new` into `whole`, which begins with `known`; all (..., pos, width)."""
        ctx.n_known = known.shape[-2]
        stop = ctx.n_known + new.shape[-2]
        if stop > whole.shape[-2]:
            raise ValueError(f"the cache has room for {whole.shape[-2]} positions, not {stop}")
        whole[..., ctx.n_known : stop, :] = new
        # Not a view of `whole` to autograd: what it shows is never written again.
        return whole.data[..., :stop, :]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Cut the gradient in two."""
        return gradient[..., : ctx.n_known, :], gradient[..., ctx.n_known :, :], None


class _RoomyLayer(DynamicLayer):
    """A layer's keys and values with room for more, so that growing copies nothing."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._whole: tuple[Tensor, ...] = ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        new = key_states, value_states
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self._whole = tuple(_with_room(tensor, self._room) for tensor in new)
            self.keys, self.values = (whole[..., :0, :] for whole in self._whole)
        known = self.keys, self.values
        keys, values = map(_Append.apply, known, new, self._whole)
        self.keys, self.values = keys, values
        return keys, values

    def branch(self) -> _RoomyLayer:
        """Give a layer without the graph that goes on in the same room."""
        assert self.keys is not None
        assert self.values is not None
        other = copy(self)
        other.keys, other.values = self.keys.detach(), self.values.detach()
        return other


def _with_room(tensor: Tensor, room: int) -> Tensor:
    *sizes, length, width = tensor.shape
    return tensor.new_empty((*sizes, length + room, width))


def branch_cache(cache: Cache) -> Cache:
    """Let a caption go on from a prefilled cache without its graph.

    The new positions are written where the given cache's own next ones will be, over these: when it
    grows, the branch is no longer of use.
    """
    layers: list[Any] = list(cache.layers)
    return Cache(layers=[layer.branch() for layer in layers])


def positions(start: int, length: int, batch: int, device: torch.device) -> Tensor:
    """Count positions from `start`: (batch, length) int64."""
    return torch.arange(start, start + length, device=device).expand(batch, -1)


class SequenceRules(Protocol):
    """What a model's sequence needs beside the vectors of the patches."""

    def embed(self, table: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        """Embed tokens (pos,) that stand around the patches: (pos, d_model)."""

    def positions(self, start: int, length: int, batch: int, device: torch.device) -> Tensor:
        """Give the position ids of `length` tokens from the `start`-th."""

    def prefill_arguments(self, batch: int, length: int, device: torch.device) -> dict[str, Tensor]:
        """Give the further inputs of the first `length` tokens, run at once."""


class PlainRules:
    """Positions count from 0, and the prefill needs nothing else."""

    def embed(self, table: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        """Look tokens up in the table."""
        return table(ids)

    def positions(self, start: int, length: int, batch: int, device: torch.device) -> Tensor:
        """Count positions from `start`: (batch, length) int64."""
        return positions(start, length, batch, device)

    def prefill_arguments(self, batch: int, length: int, device: torch.device) -> dict[str, Tensor]:
        """Give nothing."""
        return {}


PLAIN = PlainRules()


def prefill(
    model: Any, embeddings: Tensor, *, room: int, rules: SequenceRules = PLAIN
) -> tuple[Tensor, Cache]:
    """Run the sequence up to the caption once.

    Args:
        model: A causal language model of transformers.
        embeddings: (batch, pos, d_model).
        room: How many positions may follow.
        rules: How positions count.

    Returns:
        (batch, vocabulary) logits after the last position, and the cache. Every layer keeps all
        positions, also one whose attention reaches a window back alone (Mistral, Gemma): a layer of
        the kind that the configuration asks for keeps the window, and neither says how many
        positions it has seen when it is copied, nor has what the first of several later tokens
        sees. The window is in the mask, which is made from the positions.
    """
    batch, length = embeddings.shape[:2]
    new_layer: Any = partial(_RoomyLayer, room)
    cache = Cache(layer_class_to_replicate=new_layer)
    out = model(
        inputs_embeds=embeddings,
        position_ids=rules.positions(0, length, batch, embeddings.device),
        **rules.prefill_arguments(batch, length, embeddings.device),
        **with_cache(model, cache),
        use_cache=True,
        logits_to_keep=1,
    )
    return out.logits[:, -1], cache


@torch.no_grad()
def generate_greedily(
    model: Any,
    first_logits: Tensor,
    cache: Cache,
    *,
    max_new_tokens: int,
    rules: SequenceRules = PLAIN,
) -> Tensor:
    """Generate from a prefilled cache, always the most probable token.

    Args:
        model: A causal language model of transformers.
        first_logits: (batch, vocabulary), after the last prefilled position.
        cache: Keys and values of the prefix, with room for `max_new_tokens - 1` positions; grows.
        max_new_tokens: Tokens for each caption, >= 1.
        rules: How positions count.

    Returns:
        Token ids (batch, n) int64, n <= max_new_tokens. After a row's end-of-text token come
        whatever tokens the model goes on with; generation ends when every row has one.
    """
    device = first_logits.device
    ends = torch.tensor(_end_tokens(model), dtype=torch.int64, device=device)
    batch = len(first_logits)
    prefix = cache.get_seq_length()
    tokens = [first_logits.argmax(dim=-1)]
    is_done = torch.isin(tokens[0], ends)
    every = 1 if device.type == "cpu" else _STEPS_BETWEEN_CHECKS
    while len(tokens) < max_new_tokens:
        if (len(tokens) - 1) % every == 0 and bool(is_done.all()):
            break
        out = model(
            input_ids=tokens[-1][:, None],
            position_ids=rules.positions(prefix + len(tokens) - 1, 1, batch, device),
            **with_cache(model, cache),
            use_cache=True,
        )
        tokens.append(out.logits[:, -1].argmax(dim=-1))
        is_done |= torch.isin(tokens[-1], ends)
    return torch.stack(tokens, dim=1)


def teacher_forced_logits(
    model: Any,
    first_logits: Tensor,
    cache: Cache,
    tokens: Tensor,
    rules: SequenceRules = PLAIN,
) -> Tensor:
    """Give the logits that predict each caption token, with the graph of the cache.

    Args:
        first_logits: (batch, vocabulary), which predict the caption's first token.
        cache: The prefill's, with its graph; grows.
        tokens: (batch, n) caption tokens.

    Returns:
        (batch, n, vocabulary): row i predicts token i.
    """
    if tokens.shape[1] == 1:
        return first_logits[:, None]
    known = tokens[:, :-1]
    start, (batch, length) = cache.get_seq_length(), known.shape
    out = model(
        input_ids=known,
        position_ids=rules.positions(start, length, batch, known.device),
        **with_cache(model, cache),
        use_cache=True,
    )
    return torch.cat([first_logits[:, None], out.logits], dim=1)


def with_cache(model: Any, cache: Cache) -> dict[str, Cache]:
    """Give the argument of a causal language model's forward that takes its cache.

    It is called `cache`, and `past_key_values` before transformers 5.24.
    """
    return {_cache_argument(type(model).forward): cache}


@remember
def _cache_argument(forward: Callable[..., Any]) -> str:
    takes = inspect.signature(forward).parameters
    return "cache" if "cache" in takes else "past_key_values"


def cut_at_end(model: Any, token_ids: list[int]) -> list[int]:
    """Drop the end-of-text token and all after it."""
    ends = _end_tokens(model)
    stop = next((i for i, token in enumerate(token_ids) if token in ends), len(token_ids))
    return token_ids[:stop]


def _end_tokens(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        end = model.config.get_text_config(decoder=True).eos_token_id
    return [] if end is None else [end] if isinstance(end, int) else list(end)
