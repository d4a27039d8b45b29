"""Train the miniature's one linear layer on picture-caption pairs; all else is frozen.

The language model reads [patches] "A picture of" and must say the caption; the loss is the mean
cross-entropy of the caption's tokens, the gradient stops at the adapter.

Source: Merullo et al., LiMBeR (arXiv 2209.15162).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPTJForCausalLM, PreTrainedTokenizerFast

from builder.miniature.checkpoints import append_row, load_checkpoint, warmup_cosine
from builder.training.checkpoints import save_checkpoint

PROMPT = "A picture of"
_IGNORED = -100
_LOG_EVERY = 20
_SAVE_EVERY = 100


@dataclass(frozen=True)
class AdapterRecipe:
    """Schedule of the adapter's training."""

    batch: int = 64
    n_steps: int = 700
    learning_rate: float = 3e-3


@dataclass(frozen=True)
class CaptionedFeatures:
    """Frozen features (picture, patch, width) of any float type, and each picture's captions."""

    features: Tensor
    captions: list[list[str]]


def train_adapter(
    data: CaptionedFeatures,
    language: tuple[GPTJForCausalLM, PreTrainedTokenizerFast],
    out: Path,
    recipe: AdapterRecipe,
    *,
    seed: int,
    stop_step: int | None = None,
) -> nn.Linear:
    """Train to `recipe.n_steps` (or pause at `stop_step`), resuming from the checkpoint in `out`.

    Writes `adapter.pt` and `adapter.csv`. The language model's own weights get no gradient.

    Raises:
        CaptionerError: The checkpoint is of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = language
    model.requires_grad_(False).eval()
    adapter = new_adapter(data.features.shape[-1], model.config.n_embd, seed).to(model.device)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    state = load_checkpoint(out / "adapter.pt", recipe)
    if state is not None:
        adapter.load_state_dict(state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
    first = 0 if state is None else int(state["step"])
    last = recipe.n_steps if stop_step is None else min(stop_step, recipe.n_steps)
    clock = time.monotonic()
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warmup_cosine(step, recipe.n_steps, 20)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randint(len(data.features), (recipe.batch,), generator=generator).tolist()
        loss = caption_loss(adapter, (model, tokenizer), _pick(data, chosen, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0 or (step + 1) % _LOG_EVERY == 0 or step + 1 == last:
            elapsed = round(time.monotonic() - clock, 1)
            row = {"step": step + 1, "elapsed_s": elapsed, "loss": round(loss.item(), 4)}
            append_row(out / "adapter.csv", row)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
            parts = {"adapter": adapter.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(out / "adapter.pt", parts | {"step": step + 1, "recipe": repr(recipe)})
    return adapter


def new_adapter(d_in: int, d_out: int, seed: int) -> nn.Linear:
    """Make an untrained adapter that turns features of unit scale into vectors of unit scale."""
    adapter = nn.Linear(d_in, d_out)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(adapter.weight, std=d_in**-0.5, generator=generator)
    nn.init.zeros_(adapter.bias)
    return adapter


def caption_loss(
    adapter: nn.Linear,
    language: tuple[Any, PreTrainedTokenizerFast],
    batch: tuple[Tensor, list[str]],
) -> Tensor:
    """Give the mean cross-entropy of the captions' tokens after the pictures' patches."""
    model, tokenizer = language
    features, captions = batch
    prompt = tokenizer.encode(PROMPT)
    rows = [[*tokenizer.encode(f" {text}."), tokenizer.eos_token_id] for text in captions]
    longest = max(len(row) for row in rows)
    padded = [row + [tokenizer.eos_token_id] * (longest - len(row)) for row in rows]
    ids = torch.tensor([prompt + row for row in padded], device=model.device)
    wanted = torch.tensor(
        [row + [_IGNORED] * (longest - len(row)) for row in rows], device=model.device
    )
    patches = adapter(features.to(model.device, torch.float32))
    embedded = torch.cat([patches, model.get_input_embeddings()(ids[:, :-1])], dim=1)
    with torch.autocast(model.device.type, torch.bfloat16):
        hidden = model.transformer(inputs_embeds=embedded, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, -longest:])
    return functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED
    )


def _pick(
    data: CaptionedFeatures, chosen: list[int], generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    numbers = torch.randint(1_000_000, (len(chosen),), generator=generator).tolist()
    captions = [
        data.captions[index][number % len(data.captions[index])]
        for index, number in zip(chosen, numbers, strict=True)
    ]
    return data.features[chosen], captions
