"""Several ways to attribute a target's logit to units, of one image, and the truth they predict.

With y the target's logit, z and a a unit's pre-activation and activation at patch p:

==================== ============================================================== ==============
method               of a unit                                                      source
==================== ============================================================== ==============
z_gradient_best      max over p of z dy/dz                                          the paper
z_gradient           sum over p of z dy/dz
a_gradient_best      max over p of a dy/da
a_gradient           sum over p of a dy/da: what zeroing does, to first order       Molchanov 2017
gradient_free        a_k (W_U W_out^k)[t], a where the target is generated          Pan et al. 2024
activation           max over p of a
integrated_gradients sum over p of a times the mean of dy/da as a layer's a grows   Dai et al. 2022
                     from 0 to what it is (Sundararajan 2017)
zeroing              y - y with a set to 0 at all patches: what is to be predicted
==================== ============================================================== ==============

All are computed in full forward passes over patches, prompt and caption up to the target. Of the
first five and the last two the last layer has 0: what it writes at patches reaches no later place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from builder.captioner import Captioner
from builder.fused import fused_kernels
from builder.language_model import LanguageModel, Tap

METHODS = (
    "z_gradient_best",
    "z_gradient",
    "a_gradient_best",
    "a_gradient",
    "gradient_free",
    "activation",
    "integrated_gradients",
)
N_STEPS = 8


@dataclass(frozen=True, slots=True)
class Case:
    """An image and a target: patches (1, n_patch, d_model), caption tokens before it, its id."""

    patches: Tensor
    before: Sequence[int]
    token_id: int


class TargetLogit:
    """The logit of a case's target, with units as they are or changed.

    Args:
        captioner, model: The captioner, and its language model laid open.
        case: The image and the target.
    """

    def __init__(self, captioner: Captioner, model: LanguageModel, case: Case) -> None:
        self.model = model
        self.case = case
        self.at_patches = captioner.patch_positions
        self.rules = captioner.rules
        before = torch.tensor(list(case.before), dtype=torch.int64, device=case.patches.device)
        words = model.embed(before).to(case.patches.dtype)[None]
        self.embeddings = torch.cat([captioner.sequence(case.patches), words], dim=1).detach()

    def logits(self, n: int = 1, **taps: Tap) -> Tensor:
        """Run `n` copies of the sequence; give the target's logit of each, (n,)."""
        with fused_kernels(self.model.model), self.model.taps(**taps):
            inputs = self.embeddings.expand(n, -1, -1)
            length, device = inputs.shape[1], inputs.device
            out = self.model.model(
                inputs_embeds=inputs,
                position_ids=self.rules.positions(0, length, n, device),
                **self.rules.prefill_arguments(n, length, device),
                use_cache=False,
                logits_to_keep=1,
            )
        return out.logits[:, -1, self.case.token_id]

    def view(self, values: Tensor, n: int = 1) -> Tensor:
        """View what a tap sees as (n, pos, d_mlp)."""
        return values.view(n, -1, values.shape[-1])

    def patches_of(self, values: Tensor, n: int = 1) -> Tensor:
        """View what a tap sees, at the patches: (n, n_patch, d_mlp)."""
        return self.view(values, n)[:, self.at_patches]

    def gradients(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Give z, a, dy/dz and dy/da of every layer, (pos, d_mlp) each."""
        z: list[Tensor] = []
        a: list[Tensor] = []

        def see_z(layer: int, values: Tensor) -> Tensor | None:
            # Nothing before the first layer's z needs a gradient: the graph starts there.
            started = values.detach().requires_grad_() if layer == 0 else None
            z.append(values if started is None else started)
            return started

        def see_a(layer: int, values: Tensor) -> None:
            a.append(values)

        with torch.enable_grad():
            logit = self.logits(preactivation=see_z, activation=see_a).sum()
            found = torch.autograd.grad(logit, [*z, *a])
        gradients = [self.view(g)[0] for g in found]
        values = [self.view(v.detach())[0] for v in (*z, *a)]
        n = len(z)
        return values[:n], values[n:], gradients[:n], gradients[n:]

    def integrated(self, n_steps: int = N_STEPS) -> Tensor:
        """Integrate a dy/da over a layer's activations at the patches, from 0 to what they are.

        One layer after the other; the middle of each of `n_steps` steps.

        Returns:
            (n_units,); a layer's sum is y less y with all of the layer's patches silent, but for
            the error of the steps. Where a norm follows the MLP (Gemma), y jumps where a leaves 0,
            and no number of steps finds that.
        """
        device, dtype = self.embeddings.device, self.embeddings.dtype
        parts = ((torch.arange(n_steps, device=device) + 0.5) / n_steps).to(dtype)[:, None, None]
        return torch.cat([self._integrated_layer(layer, parts) for layer in self.model.layers])

    def _integrated_layer(self, wanted: int, parts: Tensor) -> Tensor:
        n = len(parts)
        kept: dict[str, Tensor] = {}

        def scale(layer: int, values: Tensor) -> Tensor | None:
            if layer != wanted:
                return None
            whole = self.view(values.detach(), n).clone()
            kept["a"] = whole[:, self.at_patches].clone()
            kept["scaled"] = (kept["a"] * parts).requires_grad_()
            before, after = whole[:, : self.at_patches.start], whole[:, self.at_patches.stop :]
            return torch.cat([before, kept["scaled"], after], dim=1).view(values.shape)

        with torch.enable_grad():
            logit = self.logits(n, activation=scale).sum()
            (gradient,) = torch.autograd.grad(logit, kept["scaled"], allow_unused=True)
        if gradient is None:
            dtype = torch.promote_types(kept["a"].dtype, torch.float32)
            return kept["a"].new_zeros(self.model.d_mlp, dtype=dtype)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        return (kept["a"].to(wide) * gradient).mean(dim=0).sum(dim=0)

    @torch.no_grad()
    def zeroing(self, uid: Tensor, batch_size: int) -> Tensor:
        """Give y less y with one unit zeroed at all patches, for each of `uid`, (n,)."""
        untouched = self.logits()[0]
        return torch.cat([untouched - self._zeroed(part) for part in uid.split(batch_size)])

    def _zeroed(self, uid: Tensor) -> Tensor:
        layer_of = uid.div(self.model.d_mlp, rounding_mode="floor")
        unit_of = uid % self.model.d_mlp

        def zero(layer: int, values: Tensor) -> Tensor | None:
            rows = (layer_of == layer).nonzero()[:, 0]
            if not len(rows):
                return None
            changed = values.clone()
            # A view: writing into it changes `changed`.
            self.patches_of(changed, len(uid))[rows, :, unit_of[rows]] = 0
            return changed

        return self.logits(len(uid), activation=zero)


def attribute_all(logit: TargetLogit, *, n_steps: int = N_STEPS) -> dict[str, Tensor]:
    """Attribute a target to every unit by every method: (n_units,) each, by uid."""
    z, a, dz, da = logit.gradients()
    at = logit.at_patches
    wide = torch.promote_types(z[0].dtype, torch.float32)
    z_parts = [v[at].to(wide) * g[at] for v, g in zip(z, dz, strict=True)]
    a_parts = [v[at].to(wide) * g[at] for v, g in zip(a, da, strict=True)]
    return {
        "z_gradient_best": torch.cat([part.amax(dim=0) for part in z_parts]),
        "z_gradient": torch.cat([part.sum(dim=0) for part in z_parts]),
        "a_gradient_best": torch.cat([part.amax(dim=0) for part in a_parts]),
        "a_gradient": torch.cat([part.sum(dim=0) for part in a_parts]),
        "gradient_free": torch.cat(list(_gradient_free(logit, a))),
        "activation": torch.cat([v[at].amax(dim=0) for v in a]),
        "integrated_gradients": logit.integrated(n_steps),
    }


def _gradient_free(logit: TargetLogit, a: Sequence[Tensor]) -> Iterator[Tensor]:
    """Give a_k (W_U W_out^k)[t] by layer, a at the last position, which generates the target."""
    row = logit.model.unembedding[logit.case.token_id]
    row = row.to(torch.promote_types(a[0].dtype, torch.float32))
    for layer, values in enumerate(a):
        yield values[-1].to(row.dtype) * (logit.model.write_vectors(layer).to(row.dtype) @ row)
