"""Do the captions name what is in the picture? Shares of images, beside chance.

A caption names a category when it has one of the category's names (`builder.experiments.words`).
Chance is exact: the share of right ones over all pairs of a caption and another image, so that
what is often said and often there counts for nothing. p: shuffles of the captions over the images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from builder.experiments.contents import Contents, contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out
from builder.experiments.intervals import permutation_p, share_estimate

N_SHUFFLES = 999
FIGURE = "captions that name what is in the picture"
TARGETS = "captions with a target word"
#: Images without one that are named.
N_NAMED = 20

Table = npt.NDArray[np.bool_]


def run_captions(context: ExperimentContext) -> Outcome:
    """Count captions that name a thing of their picture, its scene, or either."""
    contents = contents_of(context)
    if not contents.categories_of:
        reason = "The data set has no instances file, so nothing says what is in a picture."
        return Outcome([left_out(FIGURE, reason), *_targets(context)])
    ids = np.array(sorted(contents.lists.by_id))
    is_scene = np.array([contents.lists.by_id[int(id_)].is_scene for id_ in ids])
    is_in = _table(context.sample, ids, contents.categories_of)
    named = {int(i): contents.lists.named_in(contents.generated_of[int(i)]) for i in context.sample}
    first = {
        int(i): contents.lists.named_in(contents.target_word_of[int(i)]) for i in context.sample
    }
    parts = {
        "a thing or the scene": (named, np.ones(len(ids), bool)),
        "a thing": (named, ~is_scene),
        "the scene": (named, is_scene),
        "a thing, by the first noun": (first, ~is_scene),
    }
    figures: list[Figure] = []
    for number, (part, (names, is_asked)) in enumerate(parts.items()):
        hits = hit_table(_table(context.sample, ids, names)[:, is_asked], is_in[:, is_asked])
        if is_asked.any():
            figures += _figures(part, hits, contents, context.random(5, number))
        else:
            figures.append(left_out(FIGURE, "The data set has no such category.", part=part))
    return Outcome([*figures, *_targets(context)])


def _targets(context: ExperimentContext) -> Iterator[Figure]:
    """Count the captions that have a target word: images of others are in no experiment."""
    image_ids = context.run.image_ids
    has = np.isin(image_ids, context.run.targets["image_id"].to_numpy())
    without = image_ids[~has]
    shown = ", ".join(map(str, without[:N_NAMED])) + (", ..." if len(without) > N_NAMED else "")
    note = "Over all images of the run." + (
        f" {len(without)} have none and are left out of the sample: images {shown}."
        if len(without)
        else ""
    )
    yield estimated(share_estimate(has), figure=TARGETS, measure="share", note=note)


def _table(
    image_ids: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    of: Mapping[int, Collection[int]],
) -> Table:
    """Say which image has which of the categories `ids`: (n_images, n_categories)."""
    rows = [of.get(int(image_id), ()) for image_id in image_ids]
    return np.array([np.isin(ids, list(row)) for row in rows], dtype=bool).reshape(-1, len(ids))


def hit_table(names: Table, is_in: Table) -> Table:
    """Say which caption would be right for which image: (n_captions, n_images).

    Args:
        names: (n_captions, n_categories): what each caption names.
        is_in: (n_images, n_categories): what is in each image.
    """
    shared: Table = (names.astype(np.float32) @ is_in.astype(np.float32).T) > 0
    return shared


def chance(hits: Table) -> float:
    """Give the share of right ones over all pairs of a caption and another image."""
    n = len(hits)
    return float((hits.sum() - np.trace(hits)) / (n * (n - 1))) if n > 1 else float("nan")


def _figures(
    part: str, hits: Table, contents: Contents, rng: np.random.Generator
) -> Iterator[Figure]:
    n = len(hits)
    rows = np.arange(n)
    if n < 2:
        yield left_out(FIGURE, "Chance needs two images.", part=part)
        return
    shuffled = [hits[rng.permutation(n), rows].mean() for _ in range(N_SHUFFLES)]
    own = hits.diagonal()
    yield estimated(
        share_estimate(own),
        figure=FIGURE,
        measure="share",
        arm="captions",
        part=part,
        control="captions of other images",
        p_value=float(permutation_p(own.mean(), shuffled)),
        note=f"p in {N_SHUFFLES} shuffles of the captions. {contents.lists.source}",
    )
    yield Figure(
        figure=FIGURE,
        measure="share",
        value=chance(hits),
        n=n,
        arm="captions of other images",
        part=part,
        note="Over all pairs of a caption and another image.",
    )


CAPTIONS = Experiment(
    name="captions",
    title="Do the captions name what is in the picture?",
    run=run_captions,
    settings=word_settings,
)
