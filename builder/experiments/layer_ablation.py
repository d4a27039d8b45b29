"""In which layers does zeroing matter? The top units of an image, one layer's at a time.

The units are the image's first k of `builder.experiments.ablation`, k the greatest of its curve;
those that lie in one layer are set to 0 at the patches and the others left. Beside them stand as
many random units of the same layer, outside of the k. Images without one of the k in a layer are
left out there, and layers with too few images; how many units it was is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from builder.experiments.ablation import curve, random_units
from builder.experiments.context import ExperimentContext
from builder.experiments.decoding_layers import MIN_IMAGES, too_few
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import mean_estimate, paired_p
from builder.experiments.passes import Passes
from builder.experiments.rankings import (
    Ranking,
    Uids,
    captions_of,
    over_batches,
    rank_units,
    uid_tensor,
)

DROP = "relative drop of p(target), one layer's top units zeroed"
COUNT = "top units zeroed"
ARMS = ("top units", "random units")

_SCHEMA = pa.schema(
    [("image_id", pa.int64()), ("layer", pa.int32()), ("n_zeroed", pa.int32())]
    + [(arm, pa.float64()) for arm in ARMS]
)


def run_layer_ablation(context: ExperimentContext) -> Outcome:
    """Zero the top units of each layer by themselves, on every image of the sample."""
    if len(context.sample) == 0:
        return nothing((), DROP, "No caption of this run has a target word.")
    k = curve(context.run.n_units)[-1]
    everything = np.ones(context.run.n_units, dtype=bool)
    rankings = rank_units(context, k, {"all": everything})
    table = _ablate(context, rankings)
    return Outcome(list(layer_figures(table, context.run.n_layers, k, context.settings.seed)))


def units_of_layer(
    ranking: Ranking, drawn: Uids, layer: int, units_per_layer: int
) -> tuple[Uids, Uids]:
    """Give an image's top units of a layer, and as many of the drawn ones, which lie in it too.

    The drawn ones are fewer where the layer has not so many others; then both are cut.
    """
    top = ranking.tops["all"]
    top = top[top // units_per_layer == layer]
    drawn = drawn[drawn // units_per_layer == layer]
    n = min(len(top), len(drawn))
    return top[:n], drawn[:n]


def _ablate(context: ExperimentContext, rankings: Sequence[Ranking]) -> pa.Table:
    """Zero both arms of every layer over all images: rows of _SCHEMA."""
    passes = Passes(context.captioner, context.model)
    d_mlp = context.run.units_per_layer

    def rows(patches: Tensor, known: Sequence[Ranking]) -> Iterator[dict[str, object]]:
        drawn = {r.image_id: random_units(context, r, 0) for r in known}
        for layer in range(context.run.n_layers):
            units = {r.image_id: units_of_layer(r, drawn[r.image_id], layer, d_mlp) for r in known}
            yield from _zero_layer(passes, patches, known, units, layer)

    return over_batches(
        context,
        rankings,
        rows,
        name="layer-ablations",
        doing="ablate layer by layer",
        schema=_SCHEMA,
    )


def _zero_layer(
    passes: Passes,
    patches: Tensor,
    rankings: Sequence[Ranking],
    units: Mapping[int, tuple[Uids, Uids]],
    layer: int,
) -> Iterator[dict[str, object]]:
    at = [i for i, ranking in enumerate(rankings) if len(units[ranking.image_id][0])]
    if not at:
        return
    kept = [rankings[i] for i in at]
    none = [np.empty(0, np.int64) for _ in kept]
    sets = [none, *([units[r.image_id][arm] for r in kept] for arm in range(len(ARMS)))]
    captions = captions_of(kept, patches.device)
    before, *after = (
        passes.zeroed(patches[at], captions, uid_tensor(uid, patches.device))[1].tolist()
        for uid in sets
    )
    for row, ranking in enumerate(kept):
        drops = {
            arm: 1 - probs[row] / before[row] if before[row] > 0 else 0.0
            for arm, probs in zip(ARMS, after, strict=True)
        }
        n_zeroed = len(units[ranking.image_id][0])
        yield {"image_id": ranking.image_id, "layer": layer, "n_zeroed": n_zeroed, **drops}


def layer_figures(
    table: pa.Table, n_layers: int, k: int, seed: int, min_images: int = MIN_IMAGES
) -> Iterator[Figure]:
    """Average rows of _SCHEMA over images, layer by layer."""
    counts: dict[int, int] = {}
    for layer in range(n_layers):
        rows = table.filter(pc.equal(table["layer"], layer))
        counts[layer] = rows.num_rows
        if rows.num_rows < min_images:
            continue
        drops = {arm: rows[arm].to_numpy() for arm in ARMS}
        p = paired_p(drops[ARMS[0]], drops[ARMS[1]], seed=seed)
        for arm, control in (ARMS, ARMS[::-1]):
            yield estimated(
                mean_estimate(drops[arm], seed=seed),
                figure=DROP, measure="share", arm=arm, layer=layer, k=k, control=control,
                p_value=None if np.isnan(p) else p,
                note="Over images with such a unit in the layer." if arm == ARMS[0] else "",
            )  # fmt: skip
        yield estimated(
            mean_estimate(rows["n_zeroed"].to_numpy(), seed=seed),
            figure=COUNT, measure="units", layer=layer, k=k,
        )  # fmt: skip
    yield from too_few(DROP, f"one of their top {k} units", counts, n_layers, min_images)


LAYER_ABLATION = Experiment(
    name="layer_ablation",
    title="In which layers does zeroing the top units matter?",
    run=run_layer_ablation,
    settings=lambda context: {"k": curve(context.run.n_units)[-1]},
)
