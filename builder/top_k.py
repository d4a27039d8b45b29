"""The greatest and the least values of long rows, exactly, without sorting the rows.

Columns are cut into groups; the k greatest values lie in the k groups of the greatest maxima, and
those are found the same way. So a row is read once for its maxima, where a plain top-k reads it
for every digit of a radix sort. A group takes every n-th column: then maxima are those of whole
vectors, which a CPU takes 20 times as fast as those of neighbours.

On a CPU the k-th greatest of a few values is found by NumPy's vectorised partition, and what is not
below it are the k: torch's top-k compares them one by one.

Of equal values the one that stands first comes first. A row in which two of the k + 1 greatest are
equal is sorted whole, for the groups do not say which of them that is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Columns in a group. To a CPU every value costs something, so groups are small; on a GPU each step
#: costs as much as many values.
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
    candidates = values.gather(1, columns)
    at = _places_of_extremes(candidates, n_sought, largest)
    top, order = candidates.gather(1, at).sort(dim=1, descending=largest)
    index = columns.gather(1, at.gather(1, order))
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
    at = _places_of_extremes(extremes.gather(1, columns), k, largest)
    groups = columns.gather(1, at)
    members = torch.arange(0, whole, n_groups, device=values.device)
    tail = torch.arange(whole, m, device=values.device).expand(n, -1)
    return torch.cat([(groups[:, None] + members[:, None]).flatten(1), tail], dim=1)


def _places_of_extremes(values: Tensor, k: int, largest: bool) -> Tensor:
    """Say where the k greatest (or least) values of each row (n, m) are, in any order: (n, k)."""
    n, m = values.shape
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64) and k < m:
        array = values.numpy()
        kth = m - k if largest else k - 1
        bound = np.partition(array, kth, axis=1)[:, kth, None]
        places = np.flatnonzero(array >= bound if largest else array <= bound)
        if len(places) == n * k:  # else some row has equals of its k-th
            return torch.from_numpy(places % m).view(n, k)
    return values.topk(k, dim=1, largest=largest, sorted=False).indices
