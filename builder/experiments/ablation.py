"""Do the top units cause the caption? Zero them, and see what is left of the target.

Schwettmann et al. 2023, section 3.3 and supplement S.5: the activations of an image's top k units
are set to 0 at the patches, and the target's probability is compared with that of the untouched
model. Arms:

- `all`: the k units of greatest attribution; `interpretable`: among those whose tokens are words;
  `without always-on`: among those that are not in every image's top 100;
- `random`: as many units **of the same layers** as in `all`, none of them among its greatest k_max;
  several draws, which are nested (k = 2 has the unit of k = 1);
- `other image`: the top k units of another image, with another target: strong units as well, but
  not this image's.

The paper's k are scaled to the model: its 6,400 are 1.4 % of GPT-J's 458,752 units. Nothing is
reloaded and no weight edited; one pass for each arm and k over a batch of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from torch import Tensor

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.ablation_figures import ablation_figures
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, nothing
from builder.experiments.passes import Passes
from builder.experiments.rankings import (
    Ranking,
    Uids,
    captions_of,
    over_batches,
    rank_units,
    uid_tensor,
)

PAPER_KS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
PAPER_UNITS = 458_752
N_DRAWS = 3
TABLE = "ablations"
RANKED = ("all", "interpretable", "without always-on")


def curve(n_units: int) -> list[int]:
    """Scale the paper's k to a model of `n_units`: rounded, at least 1, each once."""
    return sorted({max(1, round(k * n_units / PAPER_UNITS)) for k in PAPER_KS})


@dataclass(frozen=True, slots=True)
class Arm:
    """Which units of each image are zeroed, and at which k the caption is generated anew."""

    name: str
    draw: int
    units: Mapping[int, Uids]  # by image_id, in the order in which they are zeroed
    regenerated: Sequence[int]


def run_ablation(context: ExperimentContext) -> Outcome:
    """Zero growing sets of units on every image of the sample."""
    if len(context.sample) == 0:
        return nothing((TABLE,), "p(target)", "No caption of this run has a target word.")
    ks = curve(context.run.n_units)
    subsets = {
        "all": np.ones(context.run.n_units, dtype=bool),
        "interpretable": context.run.is_interpretable,
        "without always-on": ~context.run.is_always_on,
    }
    rankings = rank_units(context, ks[-1], subsets)
    arms = make_arms(context, rankings, ks)
    table = ablate(context, rankings, arms, ks)
    return Outcome(ablation_figures(table, ks, context), {TABLE: table})


def drop_of_top_units(context: ExperimentContext) -> list[Figure]:
    """Give the figures of the arm `all` alone, at three k, without new captions: for a control."""
    ks = curve(context.run.n_units)
    ks = sorted({ks[0], ks[len(ks) // 2], ks[-1]})
    rankings = rank_units(context, ks[-1], {"all": np.ones(context.run.n_units, dtype=bool)})
    arm = Arm("all", 0, {ranking.image_id: ranking.tops["all"] for ranking in rankings}, [])
    table = ablate(context, rankings, [arm], ks)
    return [figure for figure in ablation_figures(table, ks, context) if figure.arm == "all"]


def make_arms(
    context: ExperimentContext, rankings: Sequence[Ranking], ks: Sequence[int]
) -> list[Arm]:
    """Say for each arm which units of each image are zeroed."""
    middle, last = ks[len(ks) // 2], ks[-1]
    arms = [
        Arm(name, 0, {r.image_id: r.tops[name] for r in rankings}, regenerated)
        for name, regenerated in zip(RANKED, (list(ks), [last], [last]), strict=True)
    ]
    for draw in range(N_DRAWS):
        units = {r.image_id: random_units(context, r, draw) for r in rankings}
        arms.append(Arm("random", draw, units, [] if draw else [middle, last]))
    arms.append(Arm("other image", 0, other_units(rankings), [last]))
    return arms


def random_units(context: ExperimentContext, ranking: Ranking, draw: int) -> Uids:
    """Draw for each unit of `all`, in its order, another unit of its layer.

    None occurs twice or is in `all`; the list ends where a layer has no other unit left.
    """
    random = context.random(ranking.image_id, draw)
    d_mlp = context.run.units_per_layer
    top = ranking.tops["all"]
    layers = top // d_mlp
    chosen = np.full(len(top), -1)
    for layer in np.unique(layers):
        places = np.flatnonzero(layers == layer)
        others = np.setdiff1d(np.arange(d_mlp) + layer * d_mlp, top[places])
        n = min(len(places), len(others))
        chosen[places[:n]] = random.permutation(others)[:n]
    missing = np.flatnonzero(chosen < 0)
    return chosen[: missing[0]] if len(missing) else chosen


def other_units(rankings: Sequence[Ranking]) -> dict[int, Uids]:
    """Give each image the top units of the next one, in the sample's circle, of another target."""
    units: dict[int, Uids] = {}
    for place, ranking in enumerate(rankings):
        circle = [*rankings[place + 1 :], *rankings[:place]]
        other = next((o for o in circle if o.token_id != ranking.token_id), None)
        units[ranking.image_id] = np.empty(0, np.int64) if other is None else other.tops["all"]
    return units


def ablate(
    context: ExperimentContext,
    rankings: Sequence[Ranking],
    arms: Sequence[Arm],
    ks: Sequence[int],
) -> pa.Table:
    """Run every arm and k over all images: rows of the table `ablations`."""
    passes = Passes(context.captioner, context.model)
    return over_batches(
        context,
        rankings,
        lambda patches, known: _ablate_batch(passes, patches, known, arms, ks),
        name="ablations",
        doing="ablate",
        schema=EXPERIMENT_SCHEMAS[TABLE],
    )


def _ablate_batch(
    passes: Passes,
    patches: Tensor,
    rankings: Sequence[Ranking],
    arms: Sequence[Arm],
    ks: Sequence[int],
) -> Iterator[dict[str, object]]:
    """Give the rows of a batch: the untouched model, then every arm and k."""
    none = [np.empty(0, np.int64) for _ in rankings]
    untouched = _zero(passes, patches, rankings, none)
    prob_before = [prob for _, prob, _ in untouched]
    for ranking, (logit, prob, _) in zip(rankings, untouched, strict=True):
        yield _row(ranking, "none", 0, 0, (logit, prob, ranking.caption), prob)
    for arm in arms:
        for k in ks:
            # Images with fewer units than k are left out of this arm and k.
            at = [i for i, r in enumerate(rankings) if len(arm.units[r.image_id]) >= k]
            if not at:
                continue
            kept = [rankings[i] for i in at]
            units = [arm.units[ranking.image_id][:k] for ranking in kept]
            regenerate = k in arm.regenerated
            found = _zero(passes, patches[at], kept, units, regenerate=regenerate)
            for i, ranking, values in zip(at, kept, found, strict=True):
                yield _row(ranking, arm.name, arm.draw, k, values, prob_before[i])


def _zero(
    passes: Passes,
    patches: Tensor,
    rankings: Sequence[Ranking],
    units: Sequence[Uids],
    *,
    regenerate: bool = False,
) -> list[tuple[float, float, str | None]]:
    captions = captions_of(rankings, patches.device)
    uid = uid_tensor(units, patches.device)
    logit, prob, texts = passes.zeroed(patches, captions, uid, regenerate=regenerate)
    new: list[str | None] = [*texts] if texts is not None else [None] * len(rankings)
    return list(zip(logit.tolist(), prob.tolist(), new, strict=True))


def _row(
    ranking: Ranking,
    arm: str,
    draw: int,
    k: int,
    found: tuple[float, float, str | None],
    prob_before: float,
) -> dict[str, object]:
    logit, prob, caption = found
    return {
        "image_id": ranking.image_id,
        "target": 0,
        "arm": arm,
        "draw": draw,
        "k": k,
        "prob": prob,
        "logit": logit,
        "relative_drop": 1 - prob / prob_before if prob_before > 0 else 0.0,
        "caption": caption,
    }


ABLATION = Experiment(
    name="ablation",
    title="Do the top units cause the caption?",
    run=run_ablation,
    tables=(TABLE,),
    settings=lambda context: {
        "ks": curve(context.run.n_units),
        "n_draws": N_DRAWS,
        "arms": [*RANKED, "random", "other image"],
    },
)
