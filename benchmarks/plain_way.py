"""The plain way, against which the pass is measured.

One photograph at a time: read it, encode it, let transformers' own `generate` write the caption,
then a second, full forward pass with hooks that keep z and a, then the backward pass; all three
copied to the host, and the tops taken there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas_db.run_format import N_ATTRIBUTIONS, N_EXEMPLARS
from builder.captioner import Captioner
from builder.images import model_view, normalise
from builder.language_model import LanguageModel


class PlainWay:
    """Keeps every unit's top images on the host, image by image."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.model = LanguageModel(captioner.model)
        n_units = self.model.n_units
        self.best = np.full((n_units, N_EXEMPLARS), -np.inf, dtype=np.float32)
        self.image = np.zeros((n_units, N_EXEMPLARS), dtype=np.int64)
        self.heatmap = np.zeros((n_units, N_EXEMPLARS, captioner.config.n_patch), dtype=np.uint8)

    def __call__(self, image_id: int, path: Path) -> np.ndarray:
        """Give the places of the top pairs of one photograph."""
        model = self.captioner.model
        with Image.open(path) as photograph:
            view = model_view(photograph.convert("RGB"), self.captioner.config)
        pixels = normalise(view[None], self.captioner.config)
        inputs = self.captioner.sequence(self.captioner.encode(pixels))
        with torch.no_grad():
            tokens = model.generate(
                inputs_embeds=inputs,
                attention_mask=torch.ones(inputs.shape[:2], device=inputs.device),
                do_sample=False,
                max_new_tokens=self.captioner.config.max_new_tokens,
                pad_token_id=0,
            )
        z, a = self._second_pass(inputs, tokens)
        n_patch = self.captioner.config.n_patch
        gradients = np.stack([_host(t.grad)[:n_patch] for t in z])
        z_host = np.stack([_host(t)[:n_patch] for t in z])
        a_host = np.stack([_host(t)[:n_patch] for t in a])
        attribution = (z_host * gradients).ravel()
        self._keep(image_id, a_host.transpose(0, 2, 1).reshape(self.model.n_units, n_patch))
        return attribution.argpartition(-N_ATTRIBUTIONS)[-N_ATTRIBUTIONS:]

    def _second_pass(self, inputs: Tensor, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Run all again with the graph, and back from the first token's logit."""
        z: list[Tensor] = []
        a: list[Tensor] = []

        def keep(layer: int, tensor: Tensor) -> Tensor | None:
            z.append(tensor.detach().requires_grad_() if layer == 0 else tensor)
            z[layer].retain_grad()
            return z[0] if layer == 0 else None

        words = self.model.embed(tokens).to(inputs.dtype)
        with self.model.taps(preactivation=keep, activation=lambda i, t: a.append(t)):
            logits = self.captioner.model(inputs_embeds=torch.cat([inputs, words], dim=1)).logits
        logits[0, inputs.shape[1] - 1, tokens[0, 0]].backward()
        return z, a

    def _keep(self, image_id: int, maps: np.ndarray) -> None:
        """Put the image in the place of each unit's least exemplar, where it is above that."""
        best = maps.max(axis=1)
        least = self.best.argmin(axis=1)
        unit = np.flatnonzero(best > self.best[np.arange(len(best)), least])
        place = least[unit]
        self.best[unit, place] = best[unit]
        self.image[unit, place] = image_id
        low, high = maps[unit].min(axis=1)[:, None], best[unit][:, None]
        steps = (maps[unit] - low) / np.maximum(high - low, 1e-9) * 255
        self.heatmap[unit, place] = steps.round().astype(np.uint8)


def _host(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().float().cpu().numpy()[0]
