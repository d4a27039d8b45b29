"""Where the top units lie (Schwettmann et al. 2023, supplement S.6): by layer.

A layer's share is that of an image's top 100 distinct units which are its own, averaged over all
images of the run; the same among the interpretable ones alone. Beside them stands the layer's
share of all units, which is what it would have by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.experiments.context import ExperimentContext, FinishedRun
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out
from builder.experiments.intervals import mean_estimate

SHARE = "share of the top units"
DEPTH = "mean depth of the top units"


def run_layers(context: ExperimentContext) -> Outcome:
    """Count the places of each layer, all and interpretable."""
    figures: list[Figure] = []
    everything = np.ones(context.run.n_units, dtype=bool)
    for arm, is_counted in (
        ("all", everything),
        ("interpretable", context.run.is_interpretable),
    ):
        shares = layer_shares(context.run, is_counted)
        if len(shares):
            figures += _figures(context, arm, shares, is_counted)
        else:
            reason = f"No image has a top unit among those counted ({arm})."
            figures.append(left_out(SHARE, reason, arm=arm))
    return Outcome(figures)


def layer_shares(run: FinishedRun, is_counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Give each image's shares by layer, (n_images, n_layers).

    Images without a counted unit in their top 100 have no row.
    """
    uid = run.top_units["uid"].to_numpy()
    image = run.top_units["image_id"].to_numpy()
    kept = is_counted[uid]
    ids, row = np.unique(image[kept], return_inverse=True)
    place = row * run.n_layers + uid[kept] // run.units_per_layer
    counts = np.bincount(place, minlength=len(ids) * run.n_layers).reshape(-1, run.n_layers)
    shares: npt.NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _figures(
    context: ExperimentContext,
    arm: str,
    shares: npt.NDArray[np.float64],
    is_counted: npt.NDArray[np.bool_],
) -> Iterator[Figure]:
    run, seed = context.run, context.settings.seed
    units = is_counted.reshape(run.n_layers, -1).sum(axis=1)
    for layer in range(run.n_layers):
        estimate = mean_estimate(shares[:, layer], seed=seed)
        chance = f"{arm}, by chance"
        columns: dict[str, Any] = {"figure": SHARE, "measure": "share", "layer": layer}
        yield estimated(estimate, **columns, arm=arm, control=chance)
        yield Figure(
            **columns, arm=chance, value=float(units[layer] / units.sum()), n=int(units.sum())
        )
    depths = shares @ (np.arange(run.n_layers) / max(1, run.n_layers - 1))
    yield estimated(
        mean_estimate(depths, seed=seed),
        figure=DEPTH,
        measure="share of the depth",
        arm=arm,
        note="0 is the first layer, 1 the last, whose units can have no attribution.",
    )


LAYERS = Experiment(name="layers", title="In which layers do the top units lie?", run=run_layers)
