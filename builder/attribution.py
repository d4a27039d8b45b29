"""z * dy/dz for every unit at every patch in one backward pass, reduced layer by layer.

Schwettmann et al. 2023 (arXiv 2308.01544), equation 2: g(k, c, p) = Z_k^p * d y^c / d Z_k^p. A
hook on every layer's z multiplies when the gradient arrives, keeps the layer's top 100 and drops
the rest; the layers' rows are merged at the end.

Only attributions above 0 are kept: a unit that lowers the target's logit, or does nothing, is in
no top 100. Rows with equal attribution are ordered by uid, then patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas_db.run_format import N_ATTRIBUTIONS
from builder.devices import images_at_once, same_order_of_sums
from builder.exemplars import quantize_heatmaps
from builder.language_model import LanguageModel

#: Called once a layer and batch with a at the patches: (layer, (batch, patch, d_mlp)).
ActivationSink = Callable[[int, Tensor], None]


@dataclass(frozen=True, slots=True)
class TopRows:
    """The top (unit, patch) pairs of each image, (batch, k) each, by falling attribution.

    Places that no attribution above 0 fills have attribution 0 and uid -1, at the end of a row.
    """

    uid: Tensor
    patch: Tensor
    attribution: Tensor
    z: Tensor
    a: Tensor
    gradient: Tensor

    def cpu(self) -> TopRows:
        """Copy to the host."""
        return TopRows(**{name: getattr(self, name).cpu() for name in _COLUMNS})


_COLUMNS = ("uid", "patch", "attribution", "z", "a", "gradient")


class Recorder:
    """Keeps every layer's z of the prefill; reduces their gradients layer by layer.

    a is not kept where it is a function of z alone: the few values that are needed are computed
    again. Of GPT-J's graph it would be a quarter.

    Args:
        model: The language model.
        batch: Images in the batch.
        patches: Their places in the sequence.
        sink: Sees every layer's activation at the patches.
    """

    def __init__(
        self, model: LanguageModel, batch: int, patches: slice, sink: ActivationSink | None
    ) -> None:
        self.model = model
        self.batch = batch
        self.patches = patches
        self.sink = sink
        self.z: list[Tensor] = []
        self.a: list[Tensor] = []  # of gated MLPs alone

    def see_z(self, layer: int, z: Tensor) -> Tensor | None:
        """Keep z. The first layer's starts the graph: nothing before it needs one."""
        replacement = None
        if layer == 0:
            z = replacement = z.detach().requires_grad_()
        self.z.append(z)
        return replacement

    def see_a(self, layer: int, a: Tensor) -> None:
        """Pass a at the patches on; keep it only where z does not say it."""
        a = self._at_patches(a.detach())
        if self.model.architecture.is_gated:
            self.a.append(a)
        if self.sink is not None:
            self.sink(layer, a)

    def backward(
        self, logit: Tensor, has_target: Tensor, *, is_last: bool
    ) -> tuple[TopRows, TopRows]:
        """Run one backward pass; give the top pairs and the top distinct units of each image.

        Args:
            logit: (batch,) target logits.
            has_target: (batch,) bool; images without a target get no rows.
            is_last: No other target follows, so the graph may go.
        """
        pairs: dict[int, TopRows] = {}
        units: dict[int, TopRows] = {}

        def reduce(layer: int, gradient: Tensor) -> None:
            gradient = self._at_patches(gradient)
            pairs[layer], units[layer] = self._reduce_layer(layer, gradient)

        handles = [
            z.register_hook(lambda gradient, layer=layer: reduce(layer, gradient))
            for layer, z in enumerate(self.z)
        ]
        try:
            with same_order_of_sums():
                torch.where(has_target, logit, 0).sum().backward(retain_graph=not is_last)
        finally:
            for handle in handles:
                handle.remove()
            self.z[0].grad = None
        layers = sorted(pairs)
        return _merge([pairs[i] for i in layers]), _merge([units[i] for i in layers])

    def _at_patches(self, tensor: Tensor) -> Tensor:
        """View (batch, pos, d) or (batch * pos, d) as (batch, pos, d), patches only."""
        if tensor.dim() == 2:
            tensor = tensor.view(self.batch, -1, tensor.shape[-1])
        return tensor[:, self.patches]

    def _reduce_layer(self, layer: int, gradient: Tensor) -> tuple[TopRows, TopRows]:
        """Multiply, and keep the top units by their best patch, and the top pairs.

        The top 100 pairs are pairs of the top 100 units: a unit that is not among those has 100
        pairs above its best. So the pairs are sought among 100 units, not among all.
        """
        z = self._at_patches(self.z[layer].detach())
        parts = []
        start = 0
        for part in gradient.split(images_at_once(gradient)):
            images = slice(start, start + len(part))
            parts.append(self._reduce_part(layer, images, z[images], part))
            start += len(part)
        pairs, units = zip(*parts, strict=True)
        return _join(pairs, dim=0), _join(units, dim=0)

    def _reduce_part(
        self, layer: int, images: slice, z: Tensor, gradient: Tensor
    ) -> tuple[TopRows, TopRows]:
        """Reduce the images of one part of the batch: z and gradient (part, patch, d_mlp)."""
        a = self.a[layer][images] if self.a else None
        wide = torch.promote_types(z.dtype, torch.float32)
        # One pass, and float32 from factors of two bytes: a mere product would round.
        attribution = torch.addcmul(torch.zeros(1, dtype=wide, device=z.device), z, gradient)
        image = torch.arange(len(z), device=z.device)[:, None]

        def rows(value: Tensor, unit: Tensor, patch: Tensor) -> TopRows:
            at = (image, patch, unit)
            return TopRows(
                uid=layer * self.model.d_mlp + unit,
                patch=patch,
                attribution=value,
                z=z[at],
                a=self.model.activate(z[at]) if a is None else a[at],
                gradient=gradient[at],
            )

        value, unit = attribution.amax(dim=1).topk(min(N_ATTRIBUTIONS, z.shape[2]), dim=1)
        n_patch, n_units = attribution.shape[1], unit.shape[1]
        of_units = attribution.gather(2, unit[:, None].expand(-1, n_patch, -1))
        # A CPU takes the places of maxima a third as long as it takes argmax; of equals, the first.
        units = rows(value, unit, of_units.max(dim=1).indices)
        n_pairs = min(N_ATTRIBUTIONS, n_patch * n_units)
        value, index = of_units.flatten(1).topk(n_pairs, dim=1)
        return rows(value, unit.gather(1, index % n_units), index // n_units), units

    def heatmaps(self, uid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise the activation maps of units `uid` (batch, n) of the same image."""
        known = uid.clamp(min=0)
        layer, unit = known // self.model.d_mlp, known % self.model.d_mlp
        kept = self.a or [self._at_patches(z.detach()) for z in self.z]
        maps = torch.zeros((*uid.shape, kept[0].shape[1]), device=uid.device, dtype=kept[0].dtype)
        image = torch.arange(len(uid), device=uid.device)[:, None]
        for i, values in enumerate(kept):
            of_layer = values[image, :, unit]
            maps = torch.where((layer == i)[..., None], of_layer, maps)
        return quantize_heatmaps(maps if self.a else self.model.activate(maps))

    def clear(self) -> None:
        """Let go of the graph."""
        self.z.clear()
        self.a.clear()


def _join(parts: Sequence[TopRows], dim: int) -> TopRows:
    """Put rows one after another: of other images (0), or more of the same (1)."""
    return TopRows(
        **{name: torch.cat([getattr(rows, name) for rows in parts], dim) for name in _COLUMNS}
    )


def _merge(layers: list[TopRows]) -> TopRows:
    """Merge the layers' top rows of each image into one; ties by uid, then patch."""
    joined = _join(layers, dim=1)
    columns = {name: getattr(joined, name) for name in _COLUMNS}
    order = columns["patch"].argsort(dim=1, stable=True)
    for key, is_falling in (("uid", False), ("attribution", True)):
        keys = columns[key].gather(1, order)
        order = order.gather(1, keys.argsort(dim=1, descending=is_falling, stable=True))
    order = order[:, :N_ATTRIBUTIONS]
    columns = {name: column.gather(1, order) for name, column in columns.items()}
    is_above_0 = columns["attribution"] > 0
    columns["attribution"] = torch.where(is_above_0, columns["attribution"], 0)
    columns["uid"] = torch.where(is_above_0, columns["uid"], -1)
    return TopRows(**columns)
