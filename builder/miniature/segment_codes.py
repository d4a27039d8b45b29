"""Codes of segments: clusters of what an encoder says of them, to teach its next round.

Spherical k-means over the projections of all segments of all training pictures. A segment's code
is then what its patches are asked to say, whatever the view.

Source: Caron et al., Deep Clustering (arXiv 1807.05520).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NO_CODE = -1
_N_ROUNDS = 25
_BLOCK = 8192


def cluster(points: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Give the cluster of each point (n, width) of length 1, by cosine; (n,) int64.

    A cluster that loses all its points starts again at a point drawn at random.

    Raises:
        ValueError: Fewer points than clusters.
    """
    if len(points) < n_clusters:
        raise ValueError(f"{n_clusters} clusters need as many points, got {len(points)}")
    centres = points[torch.randperm(len(points), generator=generator)[:n_clusters]]
    found = _nearest(points, centres)
    for _ in range(_N_ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, found, points)
        drawn = torch.randint(len(points), (n_clusters,), generator=generator)
        counts = torch.bincount(found, minlength=n_clusters).unsqueeze(1)
        centres = functional.normalize(torch.where(counts > 0, sums, points[drawn]), dim=-1)
        found = _nearest(points, centres)
    return found


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres.T).argmax(-1) for part in points.split(_BLOCK)])
