"""Train the miniature's language model on text alone: GPT-J's architecture from scratch.

Token embeddings start at unit scale and have no weight decay: with GPT-2's .02 the first block
must lift the residual stream from .5 to 40 by itself, and attribution then sees nothing but that
block. Matrices inside the blocks are trained with Muon, all else with AdamW. Text is written as it
is read, so no sentence comes twice but by chance.

Source: Wang and Komatsuzaki, GPT-J-6B (2021); Jordan et al., Muon (2024).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from builder.loading import quiet
from builder.miniature.checkpoints import (
    append_row,
    load_checkpoint,
    save_checkpoint,
    warmup_cosine,
)
from builder.miniature.corpus import write_document

_ROWS_MULTIPLE = 64
_HELD_OUT_SEED = 1_000_000_007
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
    n_steps: int = 1000
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 4e-3
    weight_decay: float = 0.02


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
        CaptionerError: The checkpoint is of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    model: Any = build_language_model(recipe, tokenizer, seed)
    model.to(device)
    optimizers = _optimizers(model, recipe)
    state = load_checkpoint(out / "language_model.pt", recipe)
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    first = 0 if state is None else int(state["step"])
    last = recipe.n_steps if stop_step is None else min(stop_step, recipe.n_steps)
    clock = time.monotonic()
    for step in range(first, last):
        ids = _batch(tokenizer, recipe, seed, step).to(device)
        loss = _step(
            model,
            optimizers,
            ids,
            warmup_cosine(step, recipe.n_steps, min(40, recipe.n_steps // 8)),
        )
        if step == 0 or (step + 1) % _LOG_EVERY == 0 or step + 1 == last:
            elapsed = round(time.monotonic() - clock, 1)
            row = {"step": step + 1, "elapsed_s": elapsed, "loss": round(loss, 4)}
            append_row(out / "language_model.csv", row)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
            parts = {"model": model.state_dict(), "recipe": repr(recipe), "step": step + 1}
            parts["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            save_checkpoint(out / "language_model.pt", parts)
    return model.eval()


@torch.no_grad()
def held_out_loss(
    model: Any, tokenizer: PreTrainedTokenizerFast, recipe: LanguageModelRecipe
) -> float:
    """Give the mean loss in nats a token on text of a seed that training never uses."""
    ids = _batch(tokenizer, recipe, _HELD_OUT_SEED, 0).to(model.device)
    return _loss(model, ids).item()


def _step(
    model: Any, optimizers: tuple[torch.optim.Optimizer, ...], ids: Tensor, factor: float
) -> float:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.zero_grad()
    model.train()
    loss = _loss(model, ids)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def _loss(model: Any, ids: Tensor) -> Tensor:
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())


def _optimizers(model: Any, recipe: LanguageModelRecipe) -> tuple[torch.optim.Optimizer, ...]:
    matrices, tables, others = [], [], []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2
        if is_matrix and name.startswith("transformer.h."):
            matrices.append(parameter)
        elif name.startswith("lm_head") and is_matrix:
            tables.append(parameter)
        else:
            others.append(parameter)  # token embeddings, gains, biases: no decay
    muon = torch.optim.Muon(
        [{"params": matrices, "initial_lr": recipe.matrix_learning_rate}],
        lr=recipe.matrix_learning_rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    rate = recipe.learning_rate
    adam = torch.optim.AdamW(
        [
            {"params": tables, "weight_decay": recipe.weight_decay, "initial_lr": rate},
            {"params": others, "weight_decay": 0.0, "initial_lr": rate},
        ],
        lr=rate,
        betas=(0.9, 0.95),
    )
    return muon, adam


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
