"""Visual words: what a patch and its surroundings look like, as one of a few hundred clusters.

BEiT predicts, for masked patches, the codes of a discrete tokenizer. Here the codes are k-means
clusters of whitened small colour windows: a patch and half a patch around it, seen coarsely.

Source: Bao et al., BEiT (arXiv 2106.08254); k-means codes as in Hsu et al., HuBERT (2106.07447).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.miniature.picture_cache import PATCH_PX

_CELL_PX = 4
_WINDOW = 2 * PATCH_PX // _CELL_PX


class VisualTokens(nn.Module):
    """Turns pixels into codes; fitted once on pictures, then fixed."""

    mean: Tensor
    whiten: Tensor
    centres: Tensor

    def __init__(self, n_codes: int, n_components: int = 48) -> None:
        super().__init__()
        width = 3 * _WINDOW**2
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whiten", torch.zeros(width, n_components))
        self.register_buffer("centres", torch.zeros(n_codes, n_components))

    def components(self, pixels: Tensor) -> Tensor:
        """Whiten each patch's window: (batch, 3, px, px) in 0..1 to (batch, patch, component)."""
        cells = functional.avg_pool2d(pixels, _CELL_PX)
        border = (_WINDOW - PATCH_PX // _CELL_PX) // 2
        cells = functional.pad(cells, (border,) * 4, mode="replicate")
        windows = functional.unfold(cells, _WINDOW, stride=PATCH_PX // _CELL_PX).transpose(1, 2)
        return (windows - self.mean) @ self.whiten

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Give the codes of the patches, (batch, patch), int64."""
        return _nearest(self.components(pixels), self.centres)

    @torch.no_grad()
    def fit(self, pixels: Tensor, *, n_rounds: int, generator: torch.Generator) -> None:
        """Fit whitening and centres to pictures (batch, 3, px, px) in 0..1."""
        self.mean.zero_()
        width, n_components = self.whiten.shape
        self.whiten = torch.eye(width)
        windows = self.components(pixels).flatten(0, 1)
        self.mean = windows.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((windows - self.mean).T))
        # A soft whitening: the square root keeps some of the order of the components.
        scale = values[-n_components:].clamp(min=1e-6) ** -0.25
        self.whiten = vectors[:, -n_components:] * scale
        points = (windows - self.mean) @ self.whiten
        chosen = torch.randperm(len(points), generator=generator)[: len(self.centres)]
        self.centres = points[chosen].clone()
        for _ in range(n_rounds):
            codes = _nearest(points, self.centres)
            counts = torch.bincount(codes, minlength=len(self.centres)).unsqueeze(1)
            sums = torch.zeros_like(self.centres).index_add_(0, codes, points)
            spare = points[torch.randperm(len(points), generator=generator)[: len(self.centres)]]
            self.centres = torch.where(counts > 0, sums / counts.clamp(min=1), spare)


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    distances = centres.square().sum(1) - 2 * points @ centres.T
    return distances.argmin(-1)
