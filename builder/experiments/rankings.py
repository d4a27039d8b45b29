"""All units of an image by falling attribution, not only the run's first hundred.

Ablation goes to thousands of units, so the attributions are computed again, of every unit in one
backward pass (`Passes.unit_attributions`), and ranked. Ties go to the smaller uid, as in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from builder.experiments.context import ExperimentContext
from builder.experiments.passes import Captions, Passes
from builder.targets import Target

Uids = npt.NDArray[np.int64]
#: Images in one chunk of an experiment.
IMAGES_PER_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Ranking:
    """An image's caption, its target, and its units by falling attribution above 0."""

    image_id: int
    caption: str
    tokens: list[int]
    position: int
    token_id: int
    tops: Mapping[str, Uids]  # by the name of the subset of units that was ranked


def chunked(image_ids: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Cut images into chunks, each with a number as its name."""
    for start in range(0, len(image_ids), IMAGES_PER_CHUNK):
        yield f"{start // IMAGES_PER_CHUNK:05d}", image_ids[start : start + IMAGES_PER_CHUNK]


def rank_units(
    context: ExperimentContext, k: int, subsets: Mapping[str, npt.NDArray[np.bool_]]
) -> list[Ranking]:
    """Rank the units of the sample's images, the first `k` of each subset.

    Args:
        subsets: By name, (n_units,) bool: which units are ranked.

    Images whose caption has no target any more are left out.
    """
    passes = Passes(context.captioner, context.model)
    device = context.captioner.device
    masks = {name: torch.tensor(mask, device=device) for name, mask in subsets.items()}
    rankings: list[Ranking] = []
    n_done = 0
    for name, image_ids in chunked(context.sample):

        def make(image_ids: npt.NDArray[np.int64] = image_ids) -> pa.Table:
            return _table(_rank(context, passes, image_ids, k, masks), list(subsets))

        rankings += _read(context.chunks.get(f"rankings-{name}", make), list(subsets))
        n_done += len(image_ids)
        context.progress("rank units", n_done, len(context.sample))
    return rankings


def _rank(
    context: ExperimentContext,
    passes: Passes,
    image_ids: npt.NDArray[np.int64],
    k: int,
    masks: Mapping[str, Tensor],
) -> Iterator[Ranking]:
    for batch in context.batches(image_ids):
        captions, attribution = passes.unit_attributions(batch.patches)
        tops = {name: top_units(attribution, mask, k) for name, mask in masks.items()}
        for row, image_id in enumerate(batch.image_ids):
            if captions.targets[row] is None:
                continue
            yield Ranking(
                image_id=int(image_id),
                caption=captions.texts[row],
                tokens=captions.tokens[row].tolist(),
                position=int(captions.position[row]),
                token_id=int(captions.token_id[row]),
                tops={name: lists[row] for name, lists in tops.items()},
            )


def top_units(attribution: Tensor, is_ranked: Tensor, k: int) -> list[Uids]:
    """Give the first `k` units of each row of (batch, n_units) whose attribution is above 0.

    Ties go to the smaller uid; a row has fewer where fewer are above 0 and in `is_ranked`.
    """
    ranked = torch.where(is_ranked, attribution, 0)
    order = ranked.argsort(dim=1, descending=True, stable=True)[:, :k]
    is_above_0 = ranked.gather(1, order) > 0
    return [
        row[keep].cpu().numpy().astype(np.int64)
        for row, keep in zip(order, is_above_0, strict=True)
    ]


def captions_of(rankings: Sequence[Ranking], device: torch.device) -> Captions:
    """Put the captions of some images together again, as a pass gives them."""
    length = max(len(ranking.tokens) for ranking in rankings)
    # Tokens after a target are never looked at.
    rows = [ranking.tokens + [0] * (length - len(ranking.tokens)) for ranking in rankings]
    return Captions(
        tokens=torch.tensor(rows, device=device),
        texts=[ranking.caption for ranking in rankings],
        targets=[Target("", 0, ranking.position) for ranking in rankings],
        position=torch.tensor([ranking.position for ranking in rankings], device=device),
        token_id=torch.tensor([ranking.token_id for ranking in rankings], device=device),
    )


def over_batches(
    context: ExperimentContext,
    rankings: Sequence[Ranking],
    rows: Callable[[Tensor, Sequence[Ranking]], Iterable[Mapping[str, object]]],
    *,
    name: str,
    doing: str,
    schema: pa.Schema,
) -> pa.Table:
    """Ask something of all ranked images, a batch at a time, and keep the answers in chunks.

    Args:
        rows: Gives the rows of a batch, from its patches (batch, n_patch, d_model) and rankings.
        name: Of the chunks.
        doing: What the progress bar says.
        schema: Of the rows.
    """
    by_id = {ranking.image_id: ranking for ranking in rankings}
    tables = [schema.empty_table()]
    n_done = 0
    for chunk, image_ids in chunked(np.array(sorted(by_id), dtype=np.int64)):

        def make(image_ids: npt.NDArray[np.int64] = image_ids) -> pa.Table:
            found: list[Mapping[str, object]] = []
            for batch in context.batches(image_ids):
                found += rows(batch.patches, [by_id[int(id_)] for id_ in batch.image_ids])
            return pa.Table.from_pylist(found, schema=schema)

        tables.append(context.chunks.get(f"{name}-{chunk}", make))
        n_done += len(image_ids)
        context.progress(doing, n_done, len(by_id))
    return pa.concat_tables(tables)


def uid_tensor(rows: Sequence[Uids], device: torch.device) -> Tensor:
    """Put lists of units into one tensor (n, longest), filled up with -1."""
    width = max((len(row) for row in rows), default=0)
    filled = [np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows]
    return torch.tensor(np.stack(filled), device=device)


def _table(rankings: Iterator[Ranking], subsets: Sequence[str]) -> pa.Table:
    rows = [
        {
            "image_id": ranking.image_id,
            "caption": ranking.caption,
            "tokens": ranking.tokens,
            "position": ranking.position,
            "token_id": ranking.token_id,
            **{f"top {name}": ranking.tops[name] for name in subsets},
        }
        for ranking in rankings
    ]
    integers = pa.list_(pa.int64())
    fields = [("image_id", pa.int64()), ("caption", pa.string()), ("tokens", integers)]
    fields += [("position", pa.int64()), ("token_id", pa.int64())]
    fields += [(f"top {name}", integers) for name in subsets]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _read(table: pa.Table, subsets: Sequence[str]) -> list[Ranking]:
    plain = ("image_id", "caption", "tokens", "position", "token_id")
    rows = table.select(list(plain)).to_pylist()
    tops = {
        name: [np.asarray(value.values, dtype=np.int64) for value in table[f"top {name}"]]
        for name in subsets
    }
    return [
        Ranking(**row, tops={name: lists[i] for name, lists in tops.items()})
        for i, row in enumerate(rows)
    ]
