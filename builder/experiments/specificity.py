"""Do top units look at the thing? Overlap of their heatmaps with its mask, beside controls.

Schwettmann et al. 2023 (arXiv 2308.01544), sections 3.2 and S.4. For every image of the sample
whose target word names a category that is annotated in it, the heatmaps of its first N_TOP units
are cut and compared with the category's mask (`builder.experiments.overlap`), beside

- random units: one of the same layer for each, outside the image's top 100;
- other image: the top units of another image of the sample, on this image.

Units of one image are averaged first: intervals and tests are over images. The same is given layer
by layer, of the units that lie in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from atlas_db.histogram import quantiles
from atlas_db.run_format import N_HISTOGRAM_BINS, shard_folder
from builder.experiments.contents import Contents, ViewMasks, contents_of, word_settings
from builder.experiments.context import ExperimentContext, FinishedRun
from builder.experiments.controls import another_of_each, random_units_of_layers
from builder.experiments.experiment import Experiment, Outcome, nothing
from builder.experiments.overlap import PERCENTILE, overlap
from builder.experiments.passes import Passes
from builder.experiments.rankings import chunked
from builder.experiments.specificity_figures import (
    category_table,
    figures,
    layer_figures,
    unit_table,
)

N_TOP = 10
TABLES = ("unit_masks", "unit_category_masks")
#: Of the arms, the one whose figures are the experiment's, and its controls.
ARMS = ("top", "random", "other")

_PAIR_SCHEMA = pa.schema(
    [("image_id", pa.int64()), ("category_id", pa.int32()), ("is_single", pa.bool_())]
    + [("uid", pa.int64()), ("object_share", pa.float64())]
    + [(f"{arm}_{kind}", pa.float64()) for arm in ARMS for kind in ("own", "unit")]
)


@dataclass(frozen=True, slots=True)
class Cases:
    """Which units are looked at on which image: rows are images, (n, N_TOP) units an arm.

    Attributes:
        uid: Of each of ARMS; -1 where an image or a layer has too few.
    """

    image_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int64]
    uid: dict[str, npt.NDArray[np.int64]]


def run_specificity(context: ExperimentContext) -> Outcome:
    """Measure the overlap of top units and of controls, and average it in several ways."""
    contents = contents_of(context)
    cases = choose_cases(context, contents)
    n_sample = len(context.sample)
    if len(cases.image_id) < 2:
        reason = _why_none(contents, n_sample)
        return nothing(TABLES, "IoU", reason)
    masks = ViewMasks(context, cases.image_id)
    if not masks.has_any:
        return nothing(TABLES, "IoU", "The data set has no masks of its things (no polygons).")
    rows = _measure(context, contents, cases, masks)
    if rows.num_rows == 0:
        return nothing(TABLES, "IoU", "No thing that a target names lies in the model's view.")
    seed = context.settings.seed
    found = figures(rows, contents.lists, n_sample=n_sample, seed=seed)
    found += layer_figures(rows, context.run.n_layers, context.run.units_per_layer, seed)
    return Outcome(
        found, {"unit_masks": unit_table(rows), "unit_category_masks": category_table(rows)}
    )


def _why_none(contents: Contents, n_sample: int) -> str:
    if not contents.categories_of:
        return "The data set has no instances file, so nothing says what is where in a picture."
    return (
        f"Of {n_sample} images, fewer than two have a target word that names a category annotated "
        "in them."
    )


def choose_cases(context: ExperimentContext, contents: Contents) -> Cases:
    """Choose the images whose target names something annotated in them, and the units of each arm.

    Another image's units are those of the next one in a random cycle.
    """
    categories = {int(id_): contents.target_category(int(id_)) for id_ in context.sample}
    image_id = np.array([id_ for id_, category in categories.items() if category is not None])
    if len(image_id) < 2:
        return Cases(np.empty(0, np.int64), np.empty(0, np.int64), {})
    tops = top_units_of(context.run, image_id)
    first = np.full((len(image_id), N_TOP), -1, dtype=np.int64)
    drawn = first.copy()
    for row, id_ in enumerate(image_id):
        units = tops[int(id_)]
        n = min(N_TOP, len(units))
        first[row, :n] = units[:n]
        drawn[row, :n] = random_units_of_layers(
            units[:n], context.run.units_per_layer, context.random(int(id_), 1), never=units
        )
    other = first[another_of_each(len(image_id), context.random(2))]
    category_id = np.array([categories[int(id_)] for id_ in image_id])
    return Cases(image_id, category_id, {"top": first, "random": drawn, "other": other})


def top_units_of(
    run: FinishedRun, image_id: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.int64]]:
    """Give the top 100 units of images, by falling attribution; empty where an image has none."""
    rows = run.top_units.select(["image_id", "uid"])
    rows = rows.filter(pc.is_in(rows["image_id"], pa.array(image_id)))
    ids, uids = (column.to_numpy() for column in rows.columns)
    starts = np.searchsorted(ids, image_id, side="left")
    stops = np.searchsorted(ids, image_id, side="right")
    return {
        int(id_): uids[start:stop].astype(np.int64)
        for id_, start, stop in zip(image_id, starts, stops, strict=True)
    }


def unit_thresholds(run: FinishedRun, percentile: float = PERCENTILE) -> npt.NDArray[np.float64]:
    """Give every unit's percentile over all patches of all images, by uid.

    Read off the run's histograms, so off by at most `atlas_db.histogram.QUANTILE_RELATIVE_ERROR`.
    """
    counts = np.zeros((run.n_units, N_HISTOGRAM_BINS), dtype=np.int64)
    n_positive = np.zeros(run.n_units, dtype=np.int64)
    for shard in run.manifest["shards"]:
        path = shard_folder(run.path, shard["index"]) / "unit_stats.parquet"
        rows = pq.read_table(path, columns=["uid", "n_positive", "histogram"])
        uid = rows["uid"].to_numpy()
        histogram = rows["histogram"].combine_chunks().flatten().to_numpy()
        counts[uid] += histogram.reshape(-1, N_HISTOGRAM_BINS)
        n_positive[uid] += rows["n_positive"].to_numpy()
    return quantiles(counts, n_positive, [percentile / 100])[:, 0]


def _measure(
    context: ExperimentContext, contents: Contents, cases: Cases, masks: ViewMasks
) -> pa.Table:
    """Look at every unit of every case: a row of _PAIR_SCHEMA for each image and top unit."""
    thresholds = unit_thresholds(context.run)
    passes = Passes(context.captioner, context.model)
    tables = []
    n_done = 0
    for name, image_ids in chunked(cases.image_id):

        def make(image_ids: npt.NDArray[np.int64] = image_ids) -> pa.Table:
            found = _measure_images(context, cases, masks, (passes, thresholds), image_ids)
            rows = [
                {**row, "is_single": row["image_id"] in contents.single_object_images}
                for row in found
            ]
            return pa.Table.from_pylist(rows, schema=_PAIR_SCHEMA)

        tables.append(context.chunks.get(f"overlap-{name}", make))
        n_done += len(image_ids)
        context.progress("compare heatmaps with masks", n_done, len(cases.image_id))
    return _nan_to_null(pa.concat_tables(tables))


def _nan_to_null(rows: pa.Table) -> pa.Table:
    """Mark what there is not (chunks keep nan), so that means leave it out."""
    columns = [
        pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column
        for column in rows.columns
    ]
    return pa.table(dict(zip(rows.column_names, columns, strict=True)))


def _measure_images(
    context: ExperimentContext,
    cases: Cases,
    masks: ViewMasks,
    means: tuple[Passes, npt.NDArray[np.float64]],
    image_ids: npt.NDArray[np.int64],
) -> Iterator[dict[str, object]]:
    passes, thresholds = means
    row_of = {int(id_): row for row, id_ in enumerate(cases.image_id)}
    for batch in context.batches(image_ids):
        at = [row_of[int(id_)] for id_ in batch.image_ids]
        uid = np.concatenate([cases.uid[arm][at] for arm in ARMS], axis=1)
        maps = passes.activations(batch.patches, torch.tensor(uid, device=context.device))
        for row, units, of_image in zip(at, uid, maps.float(), strict=True):
            image_id, category_id = int(cases.image_id[row]), int(cases.category_id[row])
            target = masks.get(image_id, category_id)
            if target is None or not target.any():
                continue
            found = _overlaps(of_image, units, thresholds, target, context.run.grid)
            for rank in np.flatnonzero(units[:N_TOP] >= 0):
                values = {name: float(column[rank]) for name, column in found.items()}
                yield {
                    "image_id": image_id,
                    "category_id": category_id,
                    "uid": int(units[rank]),
                    "object_share": float(target.mean()),
                    **values,
                }


def _overlaps(
    maps: Tensor,
    uid: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float64],
    target: npt.NDArray[np.bool_],
    grid: tuple[int, int],
) -> dict[str, npt.NDArray[np.float64]]:
    """Give the overlaps of one image's units by arm and kind, (N_TOP,) each; nan for no unit."""
    limits = torch.tensor(thresholds[uid], device=maps.device)
    found = overlap(maps, limits, torch.tensor(target, device=maps.device), grid)
    columns = {}
    for kind, values in (("own", found.own), ("unit", found.unit)):
        known = np.where(uid >= 0, values.double().cpu().numpy(), np.nan)
        for arm, part in zip(ARMS, np.split(known, len(ARMS)), strict=True):
            columns[f"{arm}_{kind}"] = part
    return columns


SPECIFICITY = Experiment(
    name="specificity",
    title="Do the heatmaps of top units lie on the thing that the caption names?",
    run=run_specificity,
    tables=TABLES,
    settings=lambda context: {"n_top": N_TOP, "percentile": PERCENTILE, **word_settings(context)},
)
