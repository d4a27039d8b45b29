"""Do top units say what is in the picture? Their decoded tokens against categories' words.

For every image of the sample: does one of its first N_TOP units decode, among its ten promoted
tokens, to a word of a category that is in the picture? The words were written down before
(`builder.experiments.words`), for all categories alike. Beside it

- random units of the same layers, N_DRAWS draws of as many;
- the top units of another image of the sample, in a random cycle.

A word of two categories counts for both. Asked three ways: for one of the category's words among
the ten tokens, for MANY_WORDS of one category, and for one of the category's names alone; and the
first two layer by layer (`builder.experiments.decoding_layers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder.experiments.contents import Contents, contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import another_of_each, random_units_of_layers
from builder.experiments.decoding_layers import layer_figures, layer_shares
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import mean_estimate, paired_p, ratio_estimate
from builder.experiments.specificity import top_units_of

N_TOP = 5
N_DRAWS = 20
#: Of a unit's ten tokens, words of one category that is in the picture.
MANY_WORDS = 3
FIGURE = "images of which one of the top five units says something"
RATIO = "times as often as control"

Uids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Says:
    """By unit, by category: how many of a unit's tokens' stems are the category's words."""

    counts: npt.NDArray[np.int8]  # (n_units, n_categories)
    column_of: dict[int, int]

    def any_says(self, uid: Uids, categories: frozenset[int], min_words: int) -> bool:
        """Say whether one of the units has `min_words` words of one of the categories."""
        known = uid[uid >= 0]
        columns = self._columns(categories)
        return bool((self.counts[np.ix_(known, columns)] >= min_words).any())

    def which_say(self, categories: frozenset[int], min_words: int) -> npt.NDArray[np.bool_]:
        """Say of all units, (n_units,), which have `min_words` words of one of the categories."""
        counts: npt.NDArray[np.int8] = self.counts[:, self._columns(categories)]
        return counts.max(axis=1, initial=0) >= min_words

    def _columns(self, categories: frozenset[int]) -> Uids:
        return np.array([self.column_of[id_] for id_ in categories], dtype=np.int64)


def says_table(unit_stems: Sequence[frozenset[str]], words: dict[int, frozenset[str]]) -> Says:
    """Count for every unit and category the unit's stems that are the category's words.

    Stems and not tokens: " boat", "Boat" and " boats" of one unit count once.
    """
    column_of = {id_: column for column, id_ in enumerate(words)}
    by_stem: dict[str, list[int]] = {}
    for id_, stems in words.items():
        for stem in stems:
            by_stem.setdefault(stem, []).append(column_of[id_])
    counts = np.zeros((len(unit_stems), len(words)), dtype=np.int8)
    for uid, stems in enumerate(unit_stems):
        for stem in stems:
            counts[uid, by_stem.get(stem, [])] += 1
    return Says(counts, column_of)


def run_decoding_check(context: ExperimentContext) -> Outcome:
    """Count the images whose top units, and whose controls, say what is in them."""
    contents = contents_of(context)
    image_id = np.array([id_ for id_ in context.sample if int(id_) in contents.categories_of])
    if len(image_id) < 2:
        return nothing((), FIGURE, "Fewer than two images have annotated things.")
    lists = contents.lists
    words = {id_: of.words for id_, of in lists.by_id.items()}
    names = {
        id_: frozenset(name[0] for name in of.names if len(name) == 1)
        for id_, of in lists.by_id.items()
    }
    says = says_table(contents.unit_stems, words)
    questions = {
        "one word or more": (says, 1),
        f"{MANY_WORDS} words or more of one category": (says, MANY_WORDS),
        "a name": (says_table(contents.unit_stems, names), 1),
    }
    tops = top_units_of(context.run, image_id)
    figures: list[Figure] = []
    for part, question in questions.items():
        found = _answers(context, contents, question, tops)
        figures += _figures(found, part, lists.source, context.settings.seed)
    for part in list(questions)[:2]:
        figures += _by_layer(context, contents, questions[part], tops, part)
    return Outcome(figures)


def _by_layer(
    context: ExperimentContext,
    contents: Contents,
    question: tuple[Says, int],
    tops: dict[int, Uids],
    part: str,
) -> Iterator[Figure]:
    says, min_words = question
    shares = layer_shares(
        tops,
        another_of_each(len(tops), context.random(6)).tolist(),
        lambda image_id: says.which_say(contents.categories_of[image_id], min_words),
        n_first=N_TOP,
        d_mlp=context.run.units_per_layer,
    )
    n_layers, seed = context.run.n_layers, context.settings.seed
    yield from layer_figures(shares, part, _ARM_NAMES, n_layers=n_layers, seed=seed)


def _answers(
    context: ExperimentContext,
    contents: Contents,
    question: tuple[Says, int],
    tops: dict[int, Uids],
) -> dict[str, npt.NDArray[np.float64]]:
    """Answer for every image, by arm; of the random units, the share of the draws."""
    says, min_words = question
    ids = list(tops)
    other = another_of_each(len(ids), context.random(6))
    found: dict[str, list[float]] = {"top": [], "random": [], "other": []}
    for row, image_id in enumerate(ids):
        categories = contents.categories_of[image_id]
        first = tops[image_id][:N_TOP]
        found["top"].append(says.any_says(first, categories, min_words))
        others = tops[ids[other[row]]][:N_TOP]
        found["other"].append(says.any_says(others, categories, min_words))
        rng = context.random(image_id, 7)
        draws = [
            random_units_of_layers(first, context.run.units_per_layer, rng, never=tops[image_id])
            for _ in range(N_DRAWS)
        ]
        found["random"].append(
            float(np.mean([says.any_says(drawn, categories, min_words) for drawn in draws]))
        )
    return {arm: np.array(values, dtype=float) for arm, values in found.items()}


_ARM_NAMES = {"top": "top units", "random": "random units", "other": "units of another image"}


def _figures(
    found: dict[str, npt.NDArray[np.float64]], part: str, source: str, seed: int
) -> Iterator[Figure]:
    p = {arm: paired_p(found["top"], values, seed=seed) for arm, values in found.items()}
    for arm, values in found.items():
        is_top = arm == "top"
        yield estimated(
            mean_estimate(values, seed=seed),
            figure=FIGURE,
            measure="share",
            arm=_ARM_NAMES[arm],
            part=part,
            p_value=p["random"] if is_top else p[arm],
            control=_ARM_NAMES["random" if is_top else "top"],
            note=f"p: whether the top units' share is greater. {source if is_top else ''}".strip(),
        )
    for arm in ("random", "other"):
        yield estimated(
            ratio_estimate(found["top"], found[arm], seed=seed),
            figure=RATIO,
            measure="ratio",
            arm=_ARM_NAMES[arm],
            part=part,
        )


DECODING_CHECK = Experiment(
    name="decoding_check",
    title="Do the tokens of top units name what is in the picture?",
    run=run_decoding_check,
    settings=lambda context: {
        "n_top": N_TOP,
        "n_draws": N_DRAWS,
        "many_words": MANY_WORDS,
        **word_settings(context),
    },
)
