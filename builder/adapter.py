"""The adapter: one linear layer from the encoder's features to the language model's embeddings.

Read from safetensors or from LiMBeR's `proj.ckpt`; both hold `weight` (d_out, d_in) and `bias`
(d_out), as `torch.nn.Linear` has them.

Source: Merullo et al., Linearly Mapping from Image to Text Space (arXiv 2209.15162).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from atlas_db.errors import CaptionerError
from builder.loading import LOAD_ERRORS

_WANTED = "Wanted a state dict with 'weight' (d_model, encoder width) and 'bias' (d_model)"


def _read_state(path: Path) -> Any:
    if not path.is_file():
        raise CaptionerError(
            f"The adapter {path} is missing. Put LiMBeR's proj.ckpt or a safetensors file there, "
            "or correct 'adapter' in captioner.json."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: the file is a pickle, and unpickling a stranger's file runs its code.
        return torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        first_line = str(error).strip().split("\n")[0]
        raise CaptionerError(
            f"The adapter {path} cannot be read: {first_line}. {_WANTED}, as safetensors or as "
            "written by torch.save. Fetch or write the file again."
        ) from None


def _check_state(path: Path, state: Any) -> None:
    if not isinstance(state, Mapping) or set(state) != {"weight", "bias"}:
        got = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise CaptionerError(f"The adapter {path} holds {got}. {_WANTED}.")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    weight_shape, bias_shape = shapes["weight"], shapes["bias"]
    if len(weight_shape) != 2 or bias_shape != weight_shape[:1]:
        raise CaptionerError(
            f"The adapter {path} has weight {weight_shape} and bias {bias_shape}. {_WANTED}."
        )
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise CaptionerError(
                f"The adapter {path}: {name} ({tensor.dtype}) must be finite floating-point "
                "numbers. Fetch or train the adapter again."
            )


def load_adapter(
    path: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> torch.nn.Linear:
    """Read an adapter; its weights need no gradient.

    Raises:
        CaptionerError: The file is missing, unreadable, or not one linear layer.
    """
    state = _read_state(path)
    _check_state(path, state)
    d_out, d_in = state["weight"].shape
    adapter = torch.nn.Linear(d_in, d_out, device="meta", dtype=dtype)
    weights = {name: tensor.to(device=device, dtype=dtype) for name, tensor in state.items()}
    adapter.load_state_dict(weights, assign=True)
    return adapter.requires_grad_(False).eval()


def save_adapter(path: Path, adapter: torch.nn.Linear) -> None:
    """Write an adapter as safetensors, or as LiMBeR's code reads it where the name ends in .ckpt.

    Written under `.partial` first, flushed, then renamed.

    Raises:
        OSError: The disk is full, or fails; what was half written is removed.
    """
    state = {
        "weight": adapter.weight.detach().cpu().contiguous(),
        "bias": adapter.bias.detach().cpu().contiguous(),
    }
    # In memory first: the libraries' own writers do not say that it was the disk.
    if path.suffix == ".safetensors":
        content = save(state)
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
