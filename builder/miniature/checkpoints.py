"""What the trainings share: reading their checkpoints, a schedule, a log."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from atlas_db.errors import CaptionerError


def load_checkpoint(path: Path, recipe: Any) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none.

    Raises:
        CaptionerError: It is of another recipe.
    """
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != repr(recipe):
        raise CaptionerError(
            f"{path} was made by another recipe: {state['recipe']}, wanted {recipe!r}. Train into "
            "a new folder, or delete this checkpoint."
        )
    return state


def warmup_cosine(step: int, n_steps: int, n_warmup: int) -> float:
    """Give the learning rate's factor: a linear rise, then half a cosine down to .02."""
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file, with a header where it is new."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
