"""In which layers does zeroing matter? The top units of an image, one layer's at a time.

The units are the image's first k of `builder.experiments.ablation`, k the greatest of its curve;
those that lie in one layer are set to 0 at the patches and the others left. Beside them stand as
many random units of the same layer, outside of the k. Images without one of the k in a layer are
left out there, and layers with too few images; how many units it was is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from builder.experiments.ablation import curve, random_units
from builder.experiments.by_layer import MIN_IMAGES, arm_figures, too_few
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import mean_estimate
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
        drawn = [random_units(context, ranking, 0) for ranking in known]
        none = [np.empty(0, np.int64) for _ in known]
        before = _probabilities(passes, patches, known, none)
        for layer in range(context.run.n_layers):
            units = [units_of_layer(r, d, layer, d_mlp) for r, d in zip(known, drawn, strict=True)]
            for row in _zero_layer(passes, patches, known, units, before):
                yield {"layer": layer, **row}

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
    units: Sequence[tuple[Uids, Uids]],
    before: Sequence[float],
) -> Iterator[dict[str, object]]:
    """Zero units of one layer, arm by arm, on the images that have some."""
    at = [i for i, (top, _) in enumerate(units) if len(top)]
    if not at:
        return
    kept = [rankings[i] for i in at]
    after = {
        arm: _probabilities(passes, patches[at], kept, [units[i][number] for i in at])
        for number, arm in enumerate(ARMS)
    }
    for row, i in enumerate(at):
        drops = {
            arm: 1 - probs[row] / before[i] if before[i] > 0 else 0.0
            for arm, probs in after.items()
        }
        yield {"image_id": rankings[i].image_id, "n_zeroed": len(units[i][0]), **drops}


def _probabilities(
    passes: Passes, patches: Tensor, rankings: Sequence[Ranking], uids: Sequence[Uids]
) -> list[float]:
    """Give each image's p(target) with its units set to 0."""
    captions = captions_of(rankings, patches.device)
    return passes.zeroed(patches, captions, uid_tensor(uids, patches.device))[1].tolist()


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
        yield from arm_figures(
            {arm: rows[arm].to_numpy() for arm in ARMS},
            figure=DROP, measure="share", layer=layer, k=k, seed=seed, min_images=min_images,
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
