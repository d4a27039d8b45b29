"""Units zeroed one at a time, on the images in whose top 100 they are.

For a unit's own page: what the target's logit and probability lose when this unit alone is silent
at the patches, averaged over up to IMAGES_PER_UNIT images of the sample, those with its greatest
attribution. Beside it a random unit of the same layer that is in the top 100 of none of these
images, on the same images.

The units are those that are found in most images, N_UNITS at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import Estimate, mean_estimate, paired_p, share_estimate
from builder.experiments.passes import Captions, Passes
from builder.experiments.rankings import chunked

N_UNITS = 500
IMAGES_PER_UNIT = 4
TABLE = "unit_effects"
#: A pair's result, kept until all are there.
_PAIR_SCHEMA = pa.schema(
    [("image_id", pa.int64()), ("uid", pa.int64()), ("is_random", pa.bool_())]
    + [(name, pa.float64()) for name in ("logit_drop", "prob_drop", "relative_drop")]
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which unit is zeroed on which image, and which random one beside it: (n,) each."""

    uid: npt.NDArray[np.int64]
    image_id: npt.NDArray[np.int64]
    random_uid: npt.NDArray[np.int64]


def run_single_units(context: ExperimentContext) -> Outcome:
    """Zero units alone, and average over their images."""
    pairs = choose_pairs(context, N_UNITS, IMAGES_PER_UNIT)
    if len(pairs.uid) == 0:
        reason = "No image of the sample has a top unit with another beside it in its layer."
        return nothing((TABLE,), "drop of the target's logit", reason)
    effects = unit_table(_zero_pairs(context, pairs), pairs)
    return Outcome(list(_figures(effects, context.settings.seed)), {TABLE: effects})


def choose_pairs(context: ExperimentContext, n_units: int, images_per_unit: int) -> Pairs:
    """Choose the units found in most images of the sample, and the best images of each."""
    top = context.run.top_units
    in_sample = top.filter(pc.is_in(top["image_id"], pa.array(context.sample)))
    uid, image = in_sample["uid"].to_numpy(), in_sample["image_id"].to_numpy()
    best_first = np.lexsort((image, -in_sample["attribution"].to_numpy(), uid))
    uid, image = uid[best_first].astype(np.int64), image[best_first]
    units, starts, counts = np.unique(uid, return_index=True, return_counts=True)
    order = np.lexsort((units, -counts))[:n_units]
    d_mlp = context.run.units_per_layer
    columns: list[tuple[int, int, int]] = []
    for unit, start, count in zip(units[order], starts[order], counts[order], strict=True):
        images = image[start : start + min(count, images_per_unit)]
        taken = uid[np.isin(image, images)]
        layer = unit // d_mlp
        others = np.setdiff1d(np.arange(layer * d_mlp, (layer + 1) * d_mlp), taken)
        if len(others):
            random = int(context.random(int(unit)).choice(others))
            columns += [(int(unit), int(image_id), random) for image_id in images]
    table = np.array(columns, dtype=np.int64).reshape(-1, 3)
    return Pairs(table[:, 0], table[:, 1], table[:, 2])


def _zero_pairs(context: ExperimentContext, pairs: Pairs) -> pa.Table:
    """Zero every unit and its random partner: two rows a pair."""
    passes = Passes(context.captioner, context.model)
    images = np.unique(pairs.image_id)
    tables = [_PAIR_SCHEMA.empty_table()]
    n_done = 0
    for name, image_ids in chunked(images):

        def make(image_ids: npt.NDArray[np.int64] = image_ids) -> pa.Table:
            rows: list[dict[str, object]] = []
            for batch in context.batches(image_ids):
                captions = passes.caption(batch.patches)
                rows += _zero_batch(passes, batch.patches, captions, _work(pairs, batch.image_ids))
            return pa.Table.from_pylist(rows, schema=_PAIR_SCHEMA)

        tables.append(context.chunks.get(f"pairs-{name}", make))
        n_done += len(image_ids)
        context.progress("zero single units", n_done, len(images))
    return pa.concat_tables(tables)


def _work(pairs: Pairs, image_ids: npt.NDArray[np.int64]) -> list[tuple[int, int, int, bool]]:
    """List what a batch has to zero: row of the batch, image_id, uid, whether it is random."""
    work = []
    for row, image_id in enumerate(image_ids.tolist()):
        at = pairs.image_id == image_id
        work += [(row, image_id, int(uid), False) for uid in pairs.uid[at]]
        work += [(row, image_id, int(uid), True) for uid in np.unique(pairs.random_uid[at])]
    return work


def _zero_batch(
    passes: Passes,
    patches: torch.Tensor,
    captions: Captions,
    work: list[tuple[int, int, int, bool]],
) -> Iterator[dict[str, object]]:
    """Zero one unit in each row: rows of the batch are repeated, as many at once as it has."""
    nobody = torch.full((len(patches), 1), -1, device=patches.device)
    logit_before, prob_before, _ = passes.zeroed(patches, captions, nobody)
    for start in range(0, len(work), len(patches)):
        part = work[start : start + len(patches)]
        at = torch.tensor([row for row, *_ in part], device=patches.device)
        uid = torch.tensor([[uid] for _, _, uid, _ in part], device=patches.device)
        logit, prob, _ = passes.zeroed(patches[at], captions.rows(at), uid)
        logit_drop = (logit_before[at] - logit).tolist()
        prob_drop = (prob_before[at] - prob).tolist()
        relative = ((prob_before[at] - prob) / prob_before[at]).nan_to_num(0.0).tolist()
        for (_, image_id, unit, is_random), *drops in zip(
            part, logit_drop, prob_drop, relative, strict=True
        ):
            names = ("logit_drop", "prob_drop", "relative_drop")
            values = dict(zip(names, drops, strict=True))
            yield {"image_id": image_id, "uid": unit, "is_random": is_random, **values}


def unit_table(results: pa.Table, pairs: Pairs) -> pa.Table:
    """Average over each unit's images, its own effect and its random partner's: by uid."""
    names = ("logit_drop", "prob_drop", "relative_drop")
    known = {
        (row["image_id"], row["uid"], row["is_random"]): [row[name] for name in names]
        for row in results.to_pylist()
    }
    rows = []
    for uid in np.unique(pairs.uid).tolist():
        at = np.flatnonzero(pairs.uid == uid)
        triples = [(int(pairs.image_id[i]), int(pairs.random_uid[i])) for i in at]
        own = np.mean([known[image_id, uid, False] for image_id, _ in triples], axis=0)
        other = np.mean([known[image_id, random, True] for image_id, random in triples], axis=0)
        rows.append(
            {
                "uid": uid,
                "n_images": len(at),
                **dict(zip(names, own.tolist(), strict=True)),
                **{f"random_{n}": v for n, v in zip(names, other.tolist(), strict=True)},
            }
        )
    return pa.Table.from_pylist(rows, schema=EXPERIMENT_SCHEMAS[TABLE])


def _figures(effects: pa.Table, seed: int) -> Iterator[Figure]:
    own, other = (
        {name: effects[f"{prefix}{name}"].to_numpy() for name in ("logit_drop", "relative_drop")}
        for prefix in ("", "random_")
    )
    for name, figure, measure in (
        ("logit_drop", "drop of the target's logit", "logit"),
        ("relative_drop", "relative drop of p(target)", "share"),
    ):
        p = paired_p(own[name], other[name], seed=seed)
        yield _unit_figure(
            mean_estimate(own[name], seed=seed), figure, measure,
            arm="top unit", control="random unit", p_value=p if np.isfinite(p) else None,
        )  # fmt: skip
        yield _unit_figure(
            mean_estimate(other[name], seed=seed), figure, measure, arm="random unit"
        )
    yield _unit_figure(
        share_estimate(own["logit_drop"] > other["logit_drop"]),
        "units that lower the target's logit more than their random partner",
        "share",
        arm="top unit",
    )


def _unit_figure(estimate: Estimate, figure: str, measure: str, **more: object) -> Figure:
    note = "n counts units, each averaged over its images."
    return estimated(estimate, figure=figure, measure=measure, note=note, **more)


SINGLE_UNITS = Experiment(
    name="single_units",
    title="What does the target lose when one unit alone is zeroed?",
    run=run_single_units,
    tables=(TABLE,),
    settings={"n_units": N_UNITS, "images_per_unit": IMAGES_PER_UNIT},
)
