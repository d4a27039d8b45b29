"""How active units are on images: their greatest activation over the patches, and by category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Figure, left_out
from builder.experiments.passes import Passes
from builder.experiments.rankings import chunked
from builder.experiments.words import WordLists

#: A category with fewer images is not looked at.
MIN_IMAGES = 5
#: Values of activation maps that one pass may hold at once.
_ELEMENTS_AT_ONCE = 2**27


def peak_activations(
    context: ExperimentContext, image_ids: npt.NDArray[np.int64], uid: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Give the greatest activation over the patches: (n_images, n_units) float32.

    Args:
        image_ids: Ascending; the rows of the result.
        uid: (n_units,), the columns of the result.
    """
    parts = []
    n_done = 0
    for name, ids in chunked(image_ids):

        def make(ids: npt.NDArray[np.int64] = ids) -> pa.Table:
            peaks = _peaks(context, ids, uid)
            return pa.table({"peaks": pa.FixedSizeListArray.from_arrays(peaks.ravel(), len(uid))})

        table = context.chunks.get(f"peaks-{name}", make)
        values = table["peaks"].combine_chunks().flatten().to_numpy()
        parts.append(values.reshape(len(ids), len(uid)))
        n_done += len(ids)
        context.progress("read activations", n_done, len(image_ids))
    return np.concatenate(parts) if parts else np.zeros((0, len(uid)), np.float32)


def _peaks(
    context: ExperimentContext, image_ids: npt.NDArray[np.int64], uid: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    passes = Passes(context.captioner, context.model)
    units = torch.tensor(uid, device=context.device)
    rows = []
    for batch in context.batches(image_ids):
        n_units = max(1, _ELEMENTS_AT_ONCE // batch.patches[..., 0].numel())
        parts = [
            passes.activations(batch.patches, part.expand(len(batch.patches), -1)).amax(dim=-1)
            for part in units.split(n_units)
        ]
        rows.append(torch.cat(parts, dim=1).float().cpu().numpy())
    return np.concatenate(rows)


def membership(
    image_ids: npt.NDArray[np.int64], categories_of: Mapping[int, frozenset[int]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Say which images are of which category, of those with MIN_IMAGES images or more.

    Returns:
        Category ids (n_categories,), ascending, and (n_images, n_categories) bool.
    """
    none: frozenset[int] = frozenset()
    of_images = [categories_of.get(int(id_), none) for id_ in image_ids]
    known = np.array(sorted(set().union(*of_images)), dtype=np.int64)
    table = np.array([[id_ in of for id_ in known] for of in of_images], dtype=bool)
    table = table.reshape(len(image_ids), len(known))
    is_large = table.sum(axis=0) >= MIN_IMAGES
    return known[is_large], table[:, is_large]


def too_few(figure: str, category_ids: npt.NDArray[np.int64], lists: WordLists) -> Iterator[Figure]:
    """Name the categories that are not looked at, if there are any.

    Args:
        figure: What is left out of them.
        category_ids: Those that are looked at.
        lists: Names all.
    """
    known = set(category_ids.tolist())
    few = sorted(of.name for id_, of in lists.by_id.items() if id_ not in known)
    if few:
        reason = f"Fewer than {MIN_IMAGES} images or captions of the sample: {', '.join(few)}."
        yield left_out(figure, reason, part=f"{len(few)} more categories")


def mean_by_category(
    values: npt.NDArray[np.floating], is_in: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Average values (n_images, n_units) over each category's images: (n_units, n_categories)."""
    weights = is_in / np.maximum(is_in.sum(axis=0), 1)
    means: npt.NDArray[np.float64] = values.astype(np.float64).T @ weights
    return means
