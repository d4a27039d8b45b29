"""Train the miniature's language model on text alone: GPT-J's architecture from scratch.

Token embeddings start at unit scale and have no weight decay: with GPT-2's .02 the first block
must lift the residual stream from .5 to 40 by itself, and attribution then sees nothing but that
block. Text is written as it is read, so no sentence comes twice but by chance.

Three things let a unit stand for one concept instead of several: the MLPs are trained weight by
weight, with AdamW (attention's matrices and no others with Muon); their non-linearity is ReLU, so a
unit that has nothing to say is silent; and what units give out costs a little (L1). What each was
worth is in LOG.md.

Source: Wang and Komatsuzaki, GPT-J-6B (2021); Jordan et al., Muon (2024); Glorot et al., Deep
Sparse Rectifier Neural Networks (2011), for ReLU with L1 on activations.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from builder.loading import quiet
from builder.miniature.corpus import write_document
from builder.miniature.optimizers import Optimizers, Rates, warmup_cosine
from builder.training.checkpoints import load_checkpoint, save_checkpoint
from builder.training.loss_log import LossLog

_ROWS_MULTIPLE = 64
_HELD_OUT_SEED = 1_000_000_007
_N_PENALTY_WARMUP = 200
_LOG_EVERY = 10
_SAVE_EVERY = 50


@dataclass(frozen=True)
class LanguageModelRecipe:
    """Sizes and schedule of the language model's training."""

    width: int = 192
    n_layers: int = 6
    n_heads: int = 6
    d_mlp: int = 768
    vocabulary_size: int = 6144
    n_positions: int = 256
    batch: int = 8
    n_steps: int = 1200
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 4e-3
    weight_decay: float = 0.02
    activity_penalty: float = 0.5


def build_language_model(
    recipe: LanguageModelRecipe, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Any:
    """Make the untrained model, token embeddings at standard deviation 1."""
    n_rows = -(-len(tokenizer) // _ROWS_MULTIPLE) * _ROWS_MULTIPLE
    with quiet():
        config = GPTJConfig(
            vocab_size=n_rows,
            n_positions=recipe.n_positions,
            n_embd=recipe.width,
            n_layer=recipe.n_layers,
            n_head=recipe.n_heads,
            n_inner=recipe.d_mlp,
            activation_function="relu",
            rotary_dim=recipe.width // recipe.n_heads // 2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )
    torch.manual_seed(seed)
    model: Any = GPTJForCausalLM(config)
    torch.nn.init.normal_(model.transformer.wte.weight, std=1.0)
    return model


def train_language_model(
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    recipe: LanguageModelRecipe,
    *,
    seed: int,
    device: str = "cpu",
    stop_step: int | None = None,
) -> Any:
    """Train to `recipe.n_steps` (or pause at `stop_step`), resuming from the checkpoint in `out`.

    Writes `language_model.pt` and `language_model.csv`. The text of a step depends on the seed and
    the step alone, so a resumed run ends in the same weights as an uninterrupted one.

    Raises:
        RunError: The checkpoint is of another training.
    """
    out.mkdir(parents=True, exist_ok=True)
    model: Any = build_language_model(recipe, tokenizer, seed)
    model.to(device)
    optimizers = _optimizers(model, recipe)
    identity = {**asdict(recipe), "seed": seed}
    state = load_checkpoint(out / "language_model.pt", identity)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizers.load_state_dict(state["optimizers"])
    first = 0 if state is None else int(state["step"])
    last = recipe.n_steps if stop_step is None else min(stop_step, recipe.n_steps)
    log = LossLog(out / "language_model.csv", first_step=first)
    clock = time.monotonic()
    for step in range(first, last):
        ids = _batch(tokenizer, recipe, seed, step).to(device)
        loss = _step(
            model,
            optimizers,
            ids,
            warmup_cosine(step, recipe.n_steps, min(40, recipe.n_steps // 8)),
            recipe.activity_penalty * min(1.0, (step + 1) / _N_PENALTY_WARMUP),
        )
        if step == 0 or (step + 1) % _LOG_EVERY == 0 or step + 1 == last:
            elapsed = f"{time.monotonic() - clock:.1f}"
            log.add({"step": step + 1, "elapsed_s": elapsed, "loss": f"{loss:.4f}"})
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
            parts = {"model": model.state_dict(), "optimizers": optimizers.state_dict()}
            parts |= {"identity": identity, "step": step + 1}
            save_checkpoint(out / "language_model.pt", parts)
    return model.eval()


@torch.no_grad()
def held_out_loss(
    model: Any, tokenizer: PreTrainedTokenizerFast, recipe: LanguageModelRecipe
) -> float:
    """Give the mean loss in nats a token on text of a seed that training never uses."""
    ids = _batch(tokenizer, recipe, _HELD_OUT_SEED, 0).to(model.device)
    return _loss(model, ids).item()


def _step(model: Any, optimizers: Optimizers, ids: Tensor, factor: float, penalty: float) -> float:
    """Take one step and give the cross-entropy alone, without what activity costs."""
    model.train()
    with _activity(model) as means:
        loss = _loss(model, ids)
    optimizers.step(loss + penalty * torch.stack(means).sum(), factor)
    return loss.item()


@contextmanager
def _activity(model: Any) -> Iterator[list[Tensor]]:
    """Collect the mean absolute activation of each layer's units, () each, with the graph."""
    means: list[Tensor] = []

    def keep(_module: torch.nn.Module, _args: Any, activations: Tensor) -> None:
        means.append(activations.float().abs().mean())

    handles = [block.mlp.act.register_forward_hook(keep) for block in model.transformer.h]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()


def _loss(model: Any, ids: Tensor) -> Tensor:
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())


def _optimizers(model: Any, recipe: LanguageModelRecipe) -> Optimizers:
    rates = Rates(recipe.learning_rate, recipe.matrix_learning_rate, recipe.weight_decay)
    return Optimizers(model, rates, blocks="transformer.h.", decayed=("lm_head",), units=(".mlp.",))


def _batch(
    tokenizer: PreTrainedTokenizerFast, recipe: LanguageModelRecipe, seed: int, step: int
) -> Tensor:
    """Write the text of one step: rows (batch, n_positions + 1), documents one after another."""
    rows = []
    for row in range(recipe.batch):
        ids: list[int] = []
        number = 0
        while len(ids) <= recipe.n_positions:
            index = (step * recipe.batch + row) * 64 + number
            ids += [*tokenizer.encode(write_document(seed, index)), tokenizer.eos_token_id]
            number += 1
        rows.append(ids[: recipe.n_positions + 1])
    return torch.tensor(rows)
