"""Checkpoints that a training goes on from exactly: whole or not there, and of one recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from atlas_db.errors import RunError
from builder.loading import LOAD_ERRORS

#: How to go on with a training after its disk was full.
FULL_DISK_ADVICE = (
    "The last whole checkpoint is kept: make room and give the same command again, and it goes on "
    "from there."
)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all; the one before stays until then.

    Raises:
        OSError: The disk is full, or fails; what was half written is removed.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        # torch's writer turns a failed write into a RuntimeError of its own.
        if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint onto the host; None where there is none.

    Raises:
        RunError: It is damaged, or of another training; the message says what differs.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state["identity"]
    except LOAD_ERRORS as error:
        first_line = str(error).strip().split("\n")[0]
        raise RunError(
            f"the checkpoint {path} cannot be read: {first_line}. Delete it to begin anew."
        ) from None
    different = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
    if different:
        changes = ", ".join(f"{k}: {found.get(k)} then, {identity.get(k)} now" for k in different)
        raise RunError(
            f"{path} is of another training ({changes}). Give this one a folder of its own, or "
            "delete the checkpoint to begin anew."
        )
    return state
