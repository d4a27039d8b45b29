"""The greatest and the least values of long rows, exactly, without sorting the rows.

Columns are cut into groups; the k greatest values lie in the k groups of the greatest maxima, and
those are found the same way. So a row is read once for its maxima, where a plain top-k reads it
for every digit of a radix sort. A group takes every n-th column: then maxima are those of whole
vectors, which a CPU takes 20 times as fast as those of neighbours.

Of equal values the one that stands first comes first. A row in which two of the k + 1 greatest are
equal is sorted whole, for the groups do not say which of them that is.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Columns in a group. A CPU's top-k is slow for every value that it is given, so groups are small;
#: on a GPU each step costs as much as many values.
_GROUP = {"cpu": 8}
_GROUP_ON_GPU = 64
#: Rows sorted whole at once.
_TIED_ROWS = 64


def top_k(values: Tensor, k: int, *, largest: bool = True) -> tuple[Tensor, Tensor]:
    """Give the k greatest of each row (n, m), falling, and where they are: (n, k) each; k <= m.

    With `largest=False` the k least, rising. Equal values stand in the order of their columns.
    """
    # One more than k, to see whether the last has an equal that may have been left out.
    n_sought = min(k + 1, values.shape[1])
    group = _GROUP.get(values.device.type, _GROUP_ON_GPU)
    columns = _columns_of_extremes(values, n_sought, group, largest)
    top, at = values.gather(1, columns).topk(n_sought, dim=1, largest=largest)
    index = columns.gather(1, at)
    tied = (top[:, 1:] == top[:, :-1]).any(dim=1).nonzero()[:, 0]
    for rows in tied.split(_TIED_ROWS) if len(tied) else ():
        whole = values[rows].sort(dim=1, descending=largest, stable=True)
        top[rows], index[rows] = whole.values[:, :n_sought], whole.indices[:, :n_sought]
    return top[:, :k], index[:, :k]


def top_k_of_both_signs(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give the k greatest of each row, falling, and its k least, rising; and where they are.

    Returns:
        Values and indices, (n, 2, k) each.
    """
    promoted, suppressed = top_k(values, k), top_k(values, k, largest=False)
    top, index = (torch.stack(pair, dim=1) for pair in zip(promoted, suppressed, strict=True))
    return top, index


def _columns_of_extremes(values: Tensor, k: int, group: int, largest: bool) -> Tensor:
    """Give columns among which the k greatest (or least) values of each row are, (n, many)."""
    n, m = values.shape
    if m <= 2 * k * group:
        return torch.arange(m, device=values.device).expand(n, -1)
    n_groups = m // group
    whole = n_groups * group
    grouped = values[:, :whole].unflatten(1, (group, n_groups))
    extremes = grouped.amax(dim=1) if largest else grouped.amin(dim=1)
    columns = _columns_of_extremes(extremes, k, group, largest)
    at = extremes.gather(1, columns).topk(k, dim=1, largest=largest, sorted=False).indices
    groups = columns.gather(1, at)
    members = torch.arange(0, whole, n_groups, device=values.device)
    tail = torch.arange(whole, m, device=values.device).expand(n, -1)
    return torch.cat([(groups[:, None] + members[:, None]).flatten(1), tail], dim=1)
