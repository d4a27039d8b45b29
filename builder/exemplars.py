"""Streaming top images of every unit, with their heatmaps, on the device.

A unit's exemplars are the images with its greatest activation over the patches, ties broken by
image id. Its negative exemplars are the images with its least activation, where that is below 0: of
a gated MLP's units, which then write the other way. The heatmap is the activation at every patch as
uint8 with scale and zero point:
`activation = zero + scale * byte`, off by at most half a step, that is (max - min) / 510.

The result does not depend on the order of the images or on how they are cut into batches, and
merging the tables of two ranges of images gives the table of both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from builder.devices import images_at_once

_NO_IMAGE = torch.iinfo(torch.int64).max


def quantize_heatmaps(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise heatmaps to uint8, each by its own range.

    Args:
        maps: (..., n_patch), floating point.

    Returns:
        Bytes (..., n_patch) uint8, scale (...) float32, zero (...) float32. A constant map has
        scale 0.
    """
    maps = maps.to(torch.float32)
    zero = maps.amin(-1)
    scale = (maps.amax(-1) - zero) / 255
    steps = (maps - zero[..., None]) / torch.where(scale > 0, scale, 1.0)[..., None]
    return steps.round().clamp(0, 255).to(torch.uint8), scale, zero


class LayerExemplars:
    """The top images of one layer's units so far.

    Rows are kept sorted by falling activation, then image id; `slot` says where a row's heatmap
    and its patch lie, so that they are written once and never moved. With sign -1 they are the
    images of the least activation; `activation` is then kept with its sign turned.
    """

    def __init__(
        self, n_units: int, n_patch: int, k: int, device: torch.device | str, *, sign: int = 1
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be >= 1, got {k}")
        if sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {sign}")
        self.k = k
        self.sign = sign
        self.activation = torch.full((n_units, k), -torch.inf, device=device)
        self.image_id = torch.full((n_units, k), _NO_IMAGE, device=device)
        self.patch = torch.zeros((n_units, k), dtype=torch.int16, device=device)
        self.slot = torch.arange(k, device=device).expand(n_units, k).clone()
        self.heatmap = torch.zeros((n_units, k, n_patch), dtype=torch.uint8, device=device)
        self.scale = torch.zeros((n_units, k), device=device)
        self.zero = torch.zeros((n_units, k), device=device)

    def update(self, activations: Tensor, image_ids: Tensor) -> None:
        """Take in a batch.

        Args:
            activations: (batch, patch, n_units), floating point.
            image_ids: (batch,) int64, none of them seen before.
        """
        best = activations.amax(dim=1) if self.sign > 0 else -activations.amin(dim=1)
        values = torch.cat([self.activation, best.T.to(torch.float32)], dim=1)
        ids = torch.cat([self.image_id, image_ids.expand(values.shape[0], -1)], dim=1)
        by_id = ids.argsort(dim=1)
        by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
        order = by_id.gather(1, by_value)[:, : self.k]
        self._store_heatmaps(order, activations)
        self.activation = values.gather(1, order)
        self.image_id = ids.gather(1, order)

    def _store_heatmaps(self, order: Tensor, activations: Tensor) -> None:
        """Write the maps of the images that came in over those that went out."""
        is_new = order >= self.k
        old_slot = self.slot.gather(1, order.clamp(max=self.k - 1))
        # New images mark a column beyond the slots. To seek the kept ones out would make the host
        # wait for the device, once more in every layer.
        is_kept = torch.zeros((len(order), self.k + 1), dtype=torch.uint8, device=order.device)
        is_kept.scatter_(1, torch.where(is_new, self.k, old_slot), 1)
        free = is_kept[:, : self.k].argsort(dim=1, stable=True)
        nth_new = (is_new.cumsum(dim=1) - 1).clamp(min=0)
        self.slot = torch.where(is_new, free.gather(1, nth_new), old_slot)

        unit, row = is_new.nonzero(as_tuple=True)
        n_rows = images_at_once(self.heatmap[0])
        for units, rows in zip(unit.split(n_rows), row.split(n_rows), strict=True):
            maps = activations[order[units, rows] - self.k, :, units]
            heatmap, scale, zero = quantize_heatmaps(maps)
            at = (units, self.slot[units, rows])
            self.heatmap[at], self.scale[at], self.zero[at] = heatmap, scale, zero
            self.patch[at] = (self.sign * maps).argmax(dim=1).to(torch.int16)

    def rows(self) -> dict[str, Tensor]:
        """Give the exemplars found, by unit and rank, on the host.

        Of negative ones only those below 0.

        Returns:
            `unit` and `rank` (from 1) and the columns `image_id`, `activation`, `patch`,
            `heatmap` (rows, n_patch), `heatmap_scale`, `heatmap_zero`.
        """
        is_kept = self.image_id != _NO_IMAGE
        if self.sign < 0:
            is_kept &= self.activation > 0
        unit, row = is_kept.nonzero(as_tuple=True)
        slot = self.slot[unit, row]
        columns = {
            "unit": unit,
            "rank": row + 1,
            "image_id": self.image_id[unit, row],
            "activation": self.sign * self.activation[unit, row],
            "patch": self.patch[unit, slot],
            "heatmap": self.heatmap[unit, slot],
            "heatmap_scale": self.scale[unit, slot],
            "heatmap_zero": self.zero[unit, slot],
        }
        return {name: column.cpu() for name, column in columns.items()}
