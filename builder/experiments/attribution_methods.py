"""Which attribution is to be trusted? Seven of them beside the effect of zeroing, on a sample.

For N_IMAGES images every method attributes the target to every unit (`attributions`). Zeroing all
units one by one would take as many passes as there are units, so it is done for the first N_TOP of
each method and for N_RANDOM units drawn from all layers but the last: methods are held to the truth
where at least one of them says that something is to be found, and beside it.

Pan et al.'s attribution reads a unit where the target is generated, which zeroing it at the patches
does not touch: little agreement says that the two look at different places, not that it is wrong.

Rank agreement is Spearman's correlation over units, within an image, then averaged over images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.attributions import METHODS, N_STEPS, Case, TargetLogit, attribute_all
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import mean_estimate, rank_correlation
from builder.experiments.passes import Captions, Passes

N_IMAGES = 16
N_TOP = 10
N_RANDOM = 40
TABLE = "attribution_methods"
AGREEMENT = "rank agreement with zeroing"
FOUND = "units of greatest effect that are found"
BETWEEN = "rank agreement between methods"

#: Columns of the table, and the methods that they hold.
_COLUMNS = {
    "z_gradient": "z_gradient_best",
    "a_gradient": "a_gradient",
    "gradient_free": "gradient_free",
    "activation": "activation",
    "integrated_gradients": "integrated_gradients",
}
_NAMES = {
    "z_gradient_best": "z dy/dz, best patch (the paper's)",
    "z_gradient": "z dy/dz, sum over patches",
    "a_gradient_best": "a dy/da, best patch",
    "a_gradient": "a dy/da, sum over patches",
    "gradient_free": "a W_U W_out (Pan et al.)",
    "activation": "activation, best patch",
    "integrated_gradients": "integrated gradients, sum over patches",
}
_CHUNK_SCHEMA = pa.schema(
    [("image_id", pa.int64()), ("uid", pa.int32()), ("zeroing", pa.float64())]
    + [(method, pa.float64()) for method in METHODS]
)
_PAIR_SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("correlation", pa.float64()),
    ]
)


def run_attribution_methods(context: ExperimentContext) -> Outcome:
    """Attribute by every method, zero units, and compare."""
    image_ids = np.sort(context.random(12).permutation(context.sample)[:N_IMAGES])
    if len(image_ids) == 0:
        return nothing((TABLE,), AGREEMENT, "No image of the sample has a target.")
    units, pairs = [], []
    for n_done, image_id in enumerate(image_ids.tolist(), start=1):
        made = _Once(context, image_id)
        units.append(context.chunks.get(f"units-{image_id}", partial(made.get, "units")))
        pairs.append(context.chunks.get(f"pairs-{image_id}", partial(made.get, "pairs")))
        context.progress("compare attributions", n_done, len(image_ids))
    rows = pa.concat_tables(units)
    seed = context.settings.seed
    figures = [*_truth_figures(rows, seed), *_pair_figures(pa.concat_tables(pairs), seed)]
    return Outcome(figures, {TABLE: _table(rows)})


class _Once:
    """Both tables of one image, computed when the first is asked for."""

    def __init__(self, context: ExperimentContext, image_id: int) -> None:
        self.context, self.image_id = context, image_id
        self.tables: dict[str, pa.Table] = {}

    def get(self, name: str) -> pa.Table:
        """Give one of the tables."""
        self.tables = self.tables or _one(self.context, self.image_id)
        return self.tables[name]


def _one(context: ExperimentContext, image_id: int) -> dict[str, pa.Table]:
    """Attribute one image's target by every method and zero a choice of units."""
    (batch,) = context.batches([image_id])
    captions = Passes(context.captioner, context.model).caption(batch.patches)
    logit = TargetLogit(context.captioner, context.model, case_of(captions, batch.patches))
    found = {name: v.double().cpu().numpy() for name, v in attribute_all(logit).items()}
    uid = choose_units(found, context.run.units_per_layer, context.random(image_id, 13))
    effect = logit.zeroing(torch.tensor(uid, device=context.device), context.batch_size)
    columns = {"image_id": np.full(len(uid), image_id), "uid": uid}
    columns |= {"zeroing": effect.double().cpu().numpy()}
    columns |= {name: values[uid] for name, values in found.items()}
    correlations = [
        {
            "image_id": image_id,
            "first": one,
            "second": other,
            "correlation": float(rank_correlation(found[one], found[other])),
        }
        for one, other in combinations(METHODS, 2)
    ]
    return {
        "units": pa.table(columns).select(_CHUNK_SCHEMA.names).cast(_CHUNK_SCHEMA),
        "pairs": pa.Table.from_pylist(correlations, schema=_PAIR_SCHEMA),
    }


def case_of(captions: Captions, patches: torch.Tensor) -> Case:
    """Make the case of a batch of one image."""
    position = int(captions.position[0])
    before = captions.tokens[0, :position].tolist()
    return Case(patches, before, int(captions.token_id[0]))


def choose_units(
    found: dict[str, npt.NDArray[np.float64]], units_per_layer: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Choose the first N_TOP units of each method, and N_RANDOM of all layers but the last."""
    tops = [np.argsort(-values, kind="stable")[:N_TOP] for values in found.values()]
    n_units = len(next(iter(found.values())))
    n_reached = max(n_units - units_per_layer, min(n_units, N_RANDOM))
    drawn = rng.choice(n_reached, min(N_RANDOM, n_reached), replace=False)
    return np.unique(np.concatenate([*tops, drawn])).astype(np.int64)


def found_share(values: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    """Give the share of the N_TOP units of greatest effect that are among the first N_TOP."""
    n = min(N_TOP, len(truth))
    first, best = (set(np.argsort(-v, kind="stable")[:n].tolist()) for v in (values, truth))
    return len(first & best) / n


def _truth_figures(rows: pa.Table, seed: int) -> Iterator[Figure]:
    image_id, truth = (rows[name].to_numpy() for name in ("image_id", "zeroing"))
    images = np.unique(image_id)
    n_units = len(truth) / len(images)
    for method in METHODS:
        values = rows[method].to_numpy()
        parts = [(values[image_id == i], truth[image_id == i]) for i in images]
        correlations = np.array([float(rank_correlation(v, t)) for v, t in parts])
        yield estimated(
            mean_estimate(correlations[~np.isnan(correlations)], seed=seed),
            figure=AGREEMENT,
            measure="rank correlation",
            arm=_NAMES[method],
            note=f"Over {n_units:.0f} zeroed units an image, then over images.",
        )
        yield estimated(
            mean_estimate([found_share(v, t) for v, t in parts], seed=seed),
            figure=FOUND,
            measure="share",
            arm=_NAMES[method],
            k=N_TOP,
            note=f"{N_TOP / n_units:.2f} by chance.",
        )


def _pair_figures(pairs: pa.Table, seed: int) -> Iterator[Figure]:
    """Give the agreement of methods over all units of an image."""
    first, second, correlation = (
        np.array(pairs[name].to_pylist()) for name in ("first", "second", "correlation")
    )
    for one, other in combinations(METHODS, 2):
        values = correlation[(first == one) & (second == other)]
        yield estimated(
            mean_estimate(values[~np.isnan(values)], seed=seed),
            figure=BETWEEN,
            measure="rank correlation",
            arm=_NAMES[one],
            part=f"with {_NAMES[other]}",
        )


def _table(rows: pa.Table) -> pa.Table:
    schema = EXPERIMENT_SCHEMAS[TABLE]
    columns = {column: rows[method] for column, method in _COLUMNS.items()}
    columns |= {name: rows[name] for name in ("image_id", "uid", "zeroing")}
    columns["target"] = pa.array(np.zeros(rows.num_rows, np.int8))
    return pa.table(columns).select(schema.names).cast(schema)


ATTRIBUTION_METHODS = Experiment(
    name="attribution_methods",
    title="Which attribution predicts what zeroing a unit does?",
    run=run_attribution_methods,
    tables=(TABLE,),
    settings={"n_cases": N_IMAGES, "n_top": N_TOP, "n_random": N_RANDOM, "n_steps": N_STEPS},
)
