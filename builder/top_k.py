"""The greatest values of long rows, in one pass over them.

A row is cut into groups of 64; the k greatest values lie in the k groups of the greatest maxima, so
only those are sorted. On a GPU this reads the row once, where a plain top-k reads it for every
digit of a radix sort.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GROUP = 64


def top_k(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give the k greatest of each row (n, m), falling, and where they are: (n, k) each; k <= m."""
    grouped, tail = _grouped(values)
    return _greatest(values, grouped.amax(dim=2), tail, k)


def top_k_of_both_signs(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give the k greatest of each row, falling, and its k least, rising; and where they are.

    Returns:
        Values and indices, (n, 2, k) each.
    """
    grouped, tail = _grouped(values)
    least, greatest = torch.aminmax(grouped, dim=2)
    promoted = _greatest(values, greatest, tail, k)
    suppressed = _greatest(values, least, tail, k, sign=-1)
    top, index = (torch.stack(pair, dim=1) for pair in zip(promoted, suppressed, strict=True))
    return top, index


def _grouped(values: Tensor) -> tuple[Tensor, Tensor]:
    """View rows as groups, (n, group, _GROUP); and give the columns that fill no group."""
    m = values.shape[1]
    whole = m // _GROUP * _GROUP
    # One group at least, for reductions over none have no result.
    grouped = values[:, :whole].unflatten(1, (-1, _GROUP)) if whole else values[:, None]
    return grouped, torch.arange(whole if whole else m, m, device=values.device)


def _greatest(
    values: Tensor, best: Tensor, tail: Tensor, k: int, sign: int = 1
) -> tuple[Tensor, Tensor]:
    """Sort the groups of the greatest `sign * best` (n, group), and the tail."""
    is_largest = sign == 1
    groups = best.topk(min(k, best.shape[1]), dim=1, largest=is_largest, sorted=False).indices
    size = min(_GROUP, values.shape[1])
    inside = groups[..., None] * size + torch.arange(size, device=values.device)
    columns = torch.cat([inside.flatten(1), tail.expand(len(values), -1)], dim=1)
    top, at = values.gather(1, columns).topk(k, dim=1, largest=is_largest)
    return top, columns.gather(1, at)
