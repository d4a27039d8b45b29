"""One process of a training, or several on as many GPUs: who does what, and sums over all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas_db.errors import CaptionerError


class World:
    """This process alone."""

    rank = 0
    size = 1
    device: torch.device | None = None  # which device to use; None: the caller's choice

    @property
    def is_first(self) -> bool:
        """Say whether this process writes files and progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all processes."""
        return tensor

    def wait(self) -> None:
        """Wait for all processes."""


class AcceleratedWorld(World):
    """The processes that `accelerate launch` (or torchrun) has started."""

    def __init__(self, *, on_cpu: bool = False) -> None:
        """Join the other processes.

        Raises:
            CaptionerError: accelerate is not installed.
        """
        try:
            from accelerate import Accelerator
        except ImportError:
            raise CaptionerError(
                "Training on several GPUs needs the package accelerate: run "
                "`pip install 'neuron-atlas[train]'`, or train on one GPU."
            ) from None
        self._accelerator: Any = Accelerator(cpu=on_cpu)
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes
        self.device = self._accelerator.device

    def sum(self, tensor: Tensor) -> Tensor:
        summed: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return summed

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()
