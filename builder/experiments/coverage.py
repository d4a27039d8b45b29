"""Which categories have a unit that both says and shows them?

A unit says a category when MIN_WORDS or more of its ten promoted tokens are the category's words,
and shows it when MIN_EXEMPLARS or more of its 16 exemplars, the images in which it is most active,
have it. A category is covered when one unit does both. The words come from the weights alone and
the exemplars from the images alone; nothing chose the one by the other.

The control keeps both as they are and pairs them anew: each unit gets the exemplars of another
unit of its layer, drawn at random, N_DRAWS times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from atlas_db.run_format import N_EXEMPLARS
from builder.experiments.contents import Contents, contents_of, promoted_tokens, word_settings
from builder.experiments.context import ExperimentContext, FinishedRun
from builder.experiments.experiment import Experiment, Figure, Outcome, nothing
from builder.experiments.words import WordLists

MIN_WORDS = 3
MIN_EXEMPLARS = 12
N_DRAWS = 20
TABLE = "category_coverage"
_FIGURE = "categories with a unit that says and shows them"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Units that say a category, (n,) rows: how many of its words, in how many exemplars it is."""

    category_id: npt.NDArray[np.int64]
    uid: npt.NDArray[np.int64]
    n_words: npt.NDArray[np.int64]
    n_exemplars: npt.NDArray[np.int64]

    @property
    def covered(self) -> set[int]:
        """The categories with a unit that says and shows them."""
        return set(self.category_id[self.n_exemplars >= MIN_EXEMPLARS].tolist())


def run_coverage(context: ExperimentContext) -> Outcome:
    """Pair what units say with what they show, and count the categories that are covered."""
    contents = contents_of(context)
    shown = exemplar_counts(context.run, contents)
    askable = sorted(id_ for id_, counts in shown.items() if counts.any())
    if not askable:
        return nothing((TABLE,), _FIGURE, "No exemplar has a category: the images have no masks.")
    said = said_words(context.run, contents.lists)
    found = pair(said, shown)
    draws = [
        len(pair(said, _shuffled(shown, context, draw)).covered) for draw in range(1, N_DRAWS + 1)
    ]
    return Outcome(
        list(_figures(found, np.array(draws), len(askable), contents.lists)),
        {TABLE: _table(found)},
    )


def said_words(run: FinishedRun, lists: WordLists) -> dict[int, dict[int, int]]:
    """Count the words of each category among a unit's promoted tokens: category, uid, count.

    A stem that comes twice ("boat", " boats") counts once for each token. Only counts of MIN_WORDS
    or more are given.
    """
    rows, stems = promoted_tokens(run)
    uid, tokens = rows["uid"].to_numpy(), rows["token_id"].to_numpy()
    found = {}
    for category_id, words in lists.by_id.items():
        own = [token_id for token_id, stem in stems.items() if stem in words.words]
        counts = np.bincount(uid[np.isin(tokens, own)], minlength=run.n_units)
        at = np.flatnonzero(counts >= MIN_WORDS)
        found[category_id] = dict(zip(at.tolist(), counts[at].tolist(), strict=True))
    return found


def exemplar_counts(run: FinishedRun, contents: Contents) -> dict[int, npt.NDArray[np.int64]]:
    """Count in how many of each unit's exemplars a category is: category to (n_units,)."""
    uid, image = _exemplars(run)
    images: dict[int, list[int]] = {id_: [] for id_ in contents.lists.by_id}
    for image_id in np.unique(image).tolist():
        for category_id in contents.categories_of.get(image_id, ()):
            images[category_id].append(image_id)
    return {
        id_: np.bincount(uid[np.isin(image, ids)], minlength=run.n_units)
        for id_, ids in images.items()
    }


def _exemplars(run: FinishedRun) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Merge the shards' exemplars: units and images of the N_EXEMPLARS greatest of each unit."""
    rows = run.table("exemplars", ["uid", "image_id", "activation"]).sort_by(
        [("uid", "ascending"), ("activation", "descending"), ("image_id", "ascending")]
    )
    uid, image = (rows[name].to_numpy() for name in ("uid", "image_id"))
    first = np.searchsorted(uid, uid)
    kept = np.arange(len(uid)) - first < N_EXEMPLARS
    return uid[kept], image[kept]


def pair(
    said: Mapping[int, Mapping[int, int]], shown: Mapping[int, npt.NDArray[np.int64]]
) -> Pairs:
    """Put what units say of each category beside what they show of it."""
    rows = [
        (category_id, uid, n_words, int(shown[category_id][uid]))
        for category_id, units in said.items()
        for uid, n_words in units.items()
    ]
    return Pairs(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def _shuffled(
    shown: Mapping[int, npt.NDArray[np.int64]], context: ExperimentContext, draw: int
) -> dict[int, npt.NDArray[np.int64]]:
    """Give each unit the exemplars of another of its layer, the same for all categories."""
    run, rng = context.run, context.random(draw)
    layers = np.arange(run.n_units).reshape(run.n_layers, run.units_per_layer)
    other = np.concatenate([rng.permutation(layer) for layer in layers])
    return {category_id: counts[other] for category_id, counts in shown.items()}


def _figures(
    found: Pairs, draws: npt.NDArray[np.int64], n_askable: int, lists: WordLists
) -> Iterator[Figure]:
    columns: dict[str, Any] = {"figure": _FIGURE, "measure": "categories"}
    names = sorted(lists.by_id[id_].name for id_ in found.covered)
    yield Figure(
        **columns,
        value=float(len(names)),
        n=n_askable,
        arm="units",
        control="exemplars of another unit",
        p_value=float((1 + (draws >= len(names)).sum()) / (1 + len(draws))),
        note=f"Of {n_askable} categories that are in some exemplar. {lists.source} "
        f"p: share of draws with as many. Covered: {', '.join(names) or 'none'}.",
    )
    low, high = np.quantile(draws, (0.025, 0.975))
    yield Figure(
        **columns,
        value=float(draws.mean()),
        low=float(low),
        high=float(high),
        n=len(draws),
        arm="exemplars of another unit",
        note="Mean over draws; the interval holds 95 % of them.",
    )


def _table(found: Pairs) -> pa.Table:
    order = np.lexsort((found.uid, -found.n_words, -found.n_exemplars, found.category_id))
    columns = ("category_id", "uid", "n_words", "n_exemplars")
    return pa.table({name: getattr(found, name)[order] for name in columns}).cast(
        EXPERIMENT_SCHEMAS[TABLE]
    )


COVERAGE = Experiment(
    name="coverage",
    title="Which categories have a unit that says and shows them?",
    run=run_coverage,
    tables=(TABLE,),
    settings=word_settings,
)
