"""The optimizers of the miniature's trainings: Muon for matrices inside blocks, AdamW for the rest.

Muon's updates know no axes: every direction is moved as far as any other, so what a matrix learns
is spread over its units. AdamW moves weight by weight; matrices whose units are to mean something
by themselves are left to it.

Source: Jordan et al., Muon (2024); Loshchilov and Hutter, AdamW (arXiv 1711.05101).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_ADAM_BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Rates:
    """Learning rates of AdamW's and of Muon's parameters, and the weight decay of matrices."""

    adam: float
    muon: float
    weight_decay: float


class Optimizers:
    """Muon for matrices whose name starts with `blocks`, AdamW for all else.

    Matrices in blocks that have one of `units` in their name are AdamW's too. Embeddings, gains and
    biases have no weight decay: `decayed` names the other tables that have.
    """

    def __init__(
        self,
        model: nn.Module,
        rates: Rates,
        *,
        blocks: str,
        decayed: tuple[str, ...],
        units: tuple[str, ...] = (),
    ) -> None:
        matrices, tables, others = [], [], []
        for name, parameter in model.named_parameters():
            is_matrix = parameter.ndim == 2 and name.startswith(blocks) and "bias" not in name
            if is_matrix and not any(part in name for part in units):
                matrices.append(parameter)
            elif is_matrix or (parameter.ndim >= 2 and name.startswith(decayed)):
                tables.append(parameter)
            else:
                others.append(parameter)
        muon = torch.optim.Muon(
            [{"params": matrices, "initial_lr": rates.muon}],
            lr=rates.muon,
            weight_decay=rates.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        adam = torch.optim.AdamW(
            [
                {"params": tables, "weight_decay": rates.weight_decay, "initial_lr": rates.adam},
                {"params": others, "weight_decay": 0.0, "initial_lr": rates.adam},
            ],
            lr=rates.adam,
            betas=_ADAM_BETAS,
        )
        self._parameters = list(model.parameters())
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (muon, adam)

    def step(self, loss: torch.Tensor, factor: float) -> None:
        """Take one step against a loss, the learning rates scaled by `factor`."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Give the states, to be saved."""
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take states that were saved."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def warmup_cosine(step: int, n_steps: int, n_warmup: int) -> float:
    """Give the learning rate's factor: a linear rise, then half a cosine down to .02."""
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
