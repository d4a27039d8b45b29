"""Do the top units stay when what should not matter is changed?

- Another prompt (PROMPTS), with the caption and the target that it gives.
- Shuffled patches: the same features in another order (Pan et al. 2024, region invariance).
- Halves of the images: are the units that are found in many images of one half found in many of
  the other; over all images, and for each category among its first N_FIRST.

The measure of the first two is the share of an image's top 100 units that stay, over N_IMAGES
images, beside the share that it has in common with another image's. A changed caption may have
another target, so it is given for images of the same target as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from atlas_db.run_format import N_ATTRIBUTIONS
from builder.captioner import Captioner
from builder.experiments.contents import contents_of
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import another_of_each
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out
from builder.experiments.intervals import mean_estimate, paired_p, rank_correlation, share_estimate
from builder.experiments.passes import Passes
from builder.experiments.peaks import membership

N_IMAGES = 64
N_FIRST = 20
PROMPTS = ("An image of", "A photo of", "This shows")
STAY = "top units that stay"
TARGET = "images whose target stays"
HALVES = "units found in both halves of the images"

Uids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tops:
    """The top units of images, by row, and their target tokens; -1 where there is none."""

    units: list[Uids]
    token_id: npt.NDArray[np.int64]


def run_stability(context: ExperimentContext) -> Outcome:
    """Detect again with other prompts and shuffled patches; compare halves of the images."""
    image_ids = np.sort(context.random(14).permutation(context.sample)[:N_IMAGES])
    if len(image_ids) < 2:
        return Outcome([left_out(STAY, "The sample has fewer than two images.")])
    found = _detect(context, image_ids)
    figures = [
        f for arm, tops in found.items() if arm for f in _figures(context, arm, tops, found[""])
    ]
    return Outcome([*figures, *_halves(context), *_category_halves(context)])


def _detect(context: ExperimentContext, image_ids: npt.NDArray[np.int64]) -> dict[str, Tops]:
    """Detect with everything as it is (arm "") and with each change."""
    captioners = {"": context.captioner}
    for prompt in PROMPTS:
        if prompt != context.captioner.config.prompt:
            captioners[f'prompt "{prompt}"'] = _with_prompt(context.captioner, prompt)
    rows: dict[str, list[tuple[Uids, int]]] = {arm: [] for arm in (*captioners, "shuffled patches")}
    n_done = 0
    for batch in context.batches(image_ids):
        order = np.stack(
            [
                context.random(int(i), 15).permutation(batch.patches.shape[1])
                for i in batch.image_ids
            ]
        )
        index = torch.tensor(order, device=batch.patches.device)[..., None]
        shuffled = batch.patches.gather(1, index.expand_as(batch.patches))
        for arm, captioner in captioners.items():
            rows[arm] += _top_rows(captioner, context, batch.patches)
        rows["shuffled patches"] += _top_rows(context.captioner, context, shuffled)
        n_done += len(batch.image_ids)
        context.progress("detect again", n_done, len(image_ids))
    return {
        arm: Tops([units for units, _ in found], np.array([token for _, token in found]))
        for arm, found in rows.items()
    }


def _with_prompt(captioner: Captioner, prompt: str) -> Captioner:
    return replace(captioner, config=replace(captioner.config, prompt=prompt))


def _top_rows(
    captioner: Captioner, context: ExperimentContext, patches: torch.Tensor
) -> list[tuple[Uids, int]]:
    captions, attribution = Passes(captioner, context.model).unit_attributions(patches)
    value, uid = attribution.topk(min(N_ATTRIBUTIONS, attribution.shape[1]), dim=1)
    has_target = captions.has_target.tolist()
    tokens = captions.token_id.tolist()
    return [
        (units[of > 0].cpu().numpy().astype(np.int64), token if has else -1)
        for units, of, token, has in zip(uid, value, tokens, has_target, strict=True)
    ]


def shared(first: Uids, second: Uids) -> float:
    """Give the share of the first's units that are in the second too; 0 if it has none."""
    return len(np.intersect1d(first, second)) / len(first) if len(first) else 0.0


def _figures(context: ExperimentContext, arm: str, tops: Tops, usual: Tops) -> Iterator[Figure]:
    seed = context.settings.seed
    n = len(usual.units)
    other = another_of_each(n, context.random(16))
    stay = np.array([shared(a, b) for a, b in zip(usual.units, tops.units, strict=True)])
    by_chance = np.array([shared(usual.units[i], tops.units[other[i]]) for i in range(n)])
    same = (usual.token_id == tops.token_id) & (usual.token_id >= 0)
    yield estimated(
        mean_estimate(stay, seed=seed),
        figure=STAY,
        measure="share",
        arm=arm,
        control=f"{arm}, another image",
        p_value=paired_p(stay, by_chance, seed=seed),
    )
    yield estimated(
        mean_estimate(by_chance, seed=seed),
        figure=STAY,
        measure="share",
        arm=f"{arm}, another image",
        note="Top units that an image shares with another one of the same arm.",
    )
    note = "" if same.any() else "No image keeps its target."
    yield estimated(
        mean_estimate(stay[same], seed=seed),
        figure=STAY,
        measure="share",
        arm=arm,
        part="images of the same target",
        note=note,
    )
    yield estimated(share_estimate(same), figure=TARGET, measure="share", arm=arm)


def _halves(context: ExperimentContext) -> Iterator[Figure]:
    """Compare in how many images of each half a unit is found, over units found at all."""
    n_units = context.run.n_units
    ids, uid = (context.run.top_units[name].to_numpy() for name in ("image_id", "uid"))
    images = np.unique(ids)
    if len(images) < 4:
        yield left_out(HALVES, "There are fewer than four images.")
        return
    half = context.random(17).permutation(images)[: len(images) // 2]
    is_first = np.isin(ids, half)
    counts = [np.bincount(uid[is_of], minlength=n_units) for is_of in (is_first, ~is_first)]
    is_found = (counts[0] + counts[1]) > 0
    correlation = float(rank_correlation(counts[0][is_found], counts[1][is_found]))
    if np.isnan(correlation):
        yield left_out(HALVES, "All units are found in as many images.")
        return
    yield Figure(
        figure=HALVES,
        measure="rank correlation",
        value=correlation,
        n=int(is_found.sum()),
        arm="images that a unit is found in",
        note=f"Over units in a top 100; {len(half)} and {len(images) - len(half)} images.",
    )


def _category_halves(context: ExperimentContext) -> Iterator[Figure]:
    """Compare the first units of each category in one half with those in the other."""
    contents = contents_of(context)
    images = np.unique(context.run.top_units["image_id"].to_numpy())
    _, is_in = membership(images, contents.categories_of)
    if is_in.shape[1] < 2:
        yield left_out(HALVES, "Fewer than two categories have images.", part="by category")
        return
    ids, uid = (context.run.top_units[name].to_numpy() for name in ("image_id", "uid"))
    row = np.searchsorted(images, ids)
    half = np.zeros(len(images), dtype=bool)
    half[context.random(18).permutation(len(images))[: len(images) // 2]] = True
    is_kept = ~context.run.is_always_on[uid]
    firsts = [
        [_first(uid[is_kept & is_in[row, c] & (half[row] == side)]) for c in range(is_in.shape[1])]
        for side in (True, False)
    ]
    n = is_in.shape[1]
    other = another_of_each(n, context.random(19))
    own = np.array([shared(firsts[0][c], firsts[1][c]) for c in range(n)])
    chance = np.array([shared(firsts[0][c], firsts[1][other[c]]) for c in range(n)])
    seed = context.settings.seed
    for arm, values in (("the same category", own), ("another category", chance)):
        is_own = arm == "the same category"
        yield estimated(
            mean_estimate(values, seed=seed),
            figure=HALVES,
            measure="share",
            arm=arm,
            part="by category",
            k=N_FIRST,
            control="another category" if is_own else "",
            p_value=paired_p(own, chance, seed=seed) if is_own else None,
            note="Without always-on units; over categories." if is_own else "",
        )


def _first(uid: Uids) -> Uids:
    """Give the N_FIRST units that occur most often; ties go to the smaller uid."""
    units, counts = np.unique(uid, return_counts=True)
    return units[np.lexsort((units, -counts))][:N_FIRST]


STABILITY = Experiment(
    name="stability",
    title="Do top units stay under another prompt, shuffled patches, other images?",
    run=run_stability,
    settings={"n_cases": N_IMAGES, "n_first": N_FIRST, "prompts": list(PROMPTS)},
)
